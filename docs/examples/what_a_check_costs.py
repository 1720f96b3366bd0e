"""What a check of each of the five rules costs: python what_a_check_costs.py"""

import time

import test_my_rules

from pullback import parity


class Clock:
    """In place of the fixture: makes each check twice, and keeps the seconds."""

    def check(self, *args, **options):
        self.seconds = [self._timed(*args, **options), self._timed(*args, checks=["values"], **options)]

    def _timed(self, *args, **options):
        start = time.perf_counter()
        parity.check(*args, **options).raise_if_failed()
        return time.perf_counter() - start


if __name__ == "__main__":
    clock = Clock()
    print("seconds a check              all   values")
    for name, test in vars(test_my_rules).items():
        if name.startswith("test_"):
            test(clock)
            print(f"{name:<27}{clock.seconds[0]:5.1f}{clock.seconds[1]:9.1f}")

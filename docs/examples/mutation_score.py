"""How many wrong versions of the right rule would its test have found?"""

from right_rule import cross_entropy, example_args, plain

from pullback import parity

if __name__ == "__main__":
    print(parity.mutants(cross_entropy, *example_args(), reference=plain))

"""Small words that the captions of several domains need.

May import: nothing. Refuses to know: what is told.
"""

from collections.abc import Sequence

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def number(count: int) -> str:
    """A count in words, up to twelve."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else str(count)


def plural(count: int, singular: str) -> str:
    """A count and its noun: `one block`, `two blocks`."""
    return f"{number(count)} {singular}{'' if count == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Words with commas and an `and`: `red, green and blue`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def article(words: str) -> str:
    """Words with `a` or `an` before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def sentence(words: str) -> str:
    """Words with a capital at the start and a full stop at the end."""
    return f"{words[0].upper()}{words[1:]}."

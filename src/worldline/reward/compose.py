"""Objectives that add up and multiply: `2 * goal + 0.1 * smooth`.

May import: torch and `worldline.interfaces`. Refuses to know: what any objective measures.

Shapes: B rows of a rollout.
"""

from torch import Tensor

from worldline.interfaces import Objective, Rollout


class Composable:
    """An objective that composes with `+`, `-` and `*`, with other objectives and with numbers; all of `reward` are.

    A number added is a constant score; a number multiplied is a weight; two objectives multiplied score the product of their scores, which
    gates one by the other.
    """

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores."""
        raise NotImplementedError

    def __add__(self, other: "Objective | float") -> "Sum":
        return Sum(self, other)

    def __radd__(self, other: "Objective | float") -> "Sum":
        return Sum(other, self)

    def __sub__(self, other: "Objective | float") -> "Sum":
        return Sum(self, Product(-1.0, other))

    def __rsub__(self, other: "Objective | float") -> "Sum":
        return Sum(other, Product(-1.0, self))

    def __mul__(self, other: "Objective | float") -> "Product":
        return Product(self, other)

    def __rmul__(self, other: "Objective | float") -> "Product":
        return Product(other, self)

    def __neg__(self) -> "Product":
        return Product(-1.0, self)


class Term(Composable):
    """Any objective, a plain function too, made to compose.

    Args:
        objective: (B,) scores of a rollout.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores."""
        return self.objective(rollout)


class Sum(Composable):
    """The sum of objectives and numbers.

    Raises:
        TypeError: if a part is neither a number nor can be called.
    """

    def __init__(self, *parts: Objective | float) -> None:
        self.parts = _checked(parts)

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores."""
        total = rollout.latents.new_zeros(rollout.latents.shape[1])
        for part in self.parts:
            total = total + _value(part, rollout)
        return total


class Product(Composable):
    """The product of objectives and numbers.

    Raises:
        TypeError: if a part is neither a number nor can be called.
    """

    def __init__(self, *parts: Objective | float) -> None:
        self.parts = _checked(parts)

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores."""
        product = rollout.latents.new_ones(rollout.latents.shape[1])
        for part in self.parts:
            product = product * _value(part, rollout)
        return product


def _checked(parts: tuple[Objective | float, ...]) -> tuple[Objective | float, ...]:
    for part in parts:
        if not isinstance(part, int | float) and not callable(part):
            raise TypeError(f"{part!r} is neither an objective nor a number; objectives compose with each other and with numbers")
    return parts


def _value(part: Objective | float, rollout: Rollout) -> Tensor | float:
    return part if isinstance(part, int | float) else part(rollout)

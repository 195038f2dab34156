"""Addresses that must stay: a changed address means that Terraform destroys one thing and creates another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra.policy.terraform_json import Terraform, resources


@dataclass(frozen=True)
class Loss:
    """An address that was there and is not any more."""

    address: str
    was_protected: bool

    def __str__(self) -> str:
        if self.was_protected:
            return (
                f"{self.address} is gone from the stack: Terraform would refuse the plan, or destroy what it holds. "
                "Fix: give the construct its old id again, or move its state first (`terraform state mv`) and accept "
                "the loss by name: scripts/regenerate --accept-loss " + self.address
            )
        return f"{self.address} is gone from the stack: Terraform will destroy it."


PROTECTED_MARK = " protected"


def listing(*stacks: Terraform) -> str:
    """The addresses of an environment, one a line in order; those with ``prevent_destroy`` are marked."""
    lines = [
        resource.address + (PROTECTED_MARK if resource.is_protected else "")
        for terraform in stacks
        for resource in resources(terraform)
    ]
    return "".join(f"{line}\n" for line in sorted(lines))


def losses(before: str, after: str) -> list[Loss]:
    """What the listing ``after`` does not have any more of ``before``.

    An address that keeps its name and loses its protection counts as a protected loss: the next step would be a
    destroy that nothing refuses.
    """
    new = set(after.splitlines())
    addresses = {line.removesuffix(PROTECTED_MARK) for line in new}
    found = []
    for line in before.splitlines():
        address = line.removesuffix(PROTECTED_MARK)
        protected = line != address
        if address not in addresses or (protected and line not in new):
            found.append(Loss(address, protected))
    return found


def refused(before: str, after: str, accepted: Iterable[str]) -> list[Loss]:
    """The protected losses that nobody accepted by name."""
    allowed = set(accepted)
    return [loss for loss in losses(before, after) if loss.was_protected and loss.address not in allowed]

"""Rules for a template's values, put together from small ones; `properties.py` lists which property has which.

A rule takes a value that is no function call itself, checks it, and returns it as plain data. Numbers and booleans may
be written as text, as CloudFormation allows; they are returned as what they are.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from headrace.errors import TemplateError
from headrace.template.document import Items, Members, did_you_mean
from headrace.template.intrinsics import ABSENT, Resolver, describe


class Site(NamedTuple):
    """Where a value stands: in which part of the template, under which name, on which line."""

    resolver: Resolver
    owner: str
    name: str
    line: int

    def error(self, problem: str, hint: str) -> TemplateError:
        """Return an error at this place; `problem` goes on from the owner's name."""
        return TemplateError(self.resolver.file, self.line, f"{self.owner}: {problem}", hint)

    def wrong(self, value: object, wanted: str) -> TemplateError:
        """Return the error that says what the value is and what is wanted."""
        return self.error(f"{self.name} is {describe(value)}.", f"Write {wanted}.")


Rule = Callable[[Any, Site], Any]
# Members by name; None is a member that is known but not read, whatever it holds.
Rules = Mapping[str, Rule | None]


def text(pattern: str = "", wanted: str = "a text", low: int = 0, high: int = 1_000_000) -> Rule:
    """Return a rule for text that matches all of `pattern` and is `low` to `high` characters long."""

    def rule(value: Any, site: Site) -> str:
        if isinstance(value, Members | Items) or value is None:
            raise site.wrong(value, wanted)
        found = site.resolver.text(value, site.line)
        if not low <= len(found) <= high:
            raise site.error(f"{site.name} has {len(found)} characters.", f"Write {low} to {high}.")
        if pattern and not re.fullmatch(pattern, found):
            raise site.wrong(found, wanted)
        return found

    return rule


def integer(low: int, high: int | None = None, also: int | None = None) -> Rule:
    """Return a rule for a whole number from `low` to `high` (both included), or the number `also`."""
    wanted = f"a whole number from {low} to {high}" if high is not None else f"a whole number, at least {low}"
    if also is not None:
        wanted += f", or {also}"

    def rule(value: Any, site: Site) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise site.wrong(value, wanted)
        if value != also and (value < low or (high is not None and value > high)):
            bound = f"greater than or equal to {low}" if value < low else f"less than or equal to {high}"
            member = site.name[:1].lower() + site.name[1:]
            raise site.error(  # as the service says it
                f"{site.name}: Value '{value}' at '{member}' failed to satisfy constraint: "
                f"Member must have value {bound}.",
                f"Write {wanted}.",
            )
        return value

    return rule


def number(value: Any, site: Site) -> float:
    """Check a number."""
    try:
        if isinstance(value, bool | Members | Items) or value is None:
            raise ValueError
        return value if isinstance(value, int) else float(value)
    except ValueError:
        raise site.wrong(value, "a number") from None


def boolean(value: Any, site: Site) -> bool:
    """Check a boolean."""
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise site.wrong(value, "true or false")


def one_of(*names: str) -> Rule:
    """Return a rule for one of several words."""

    def rule(value: Any, site: Site) -> str:
        if value in names:
            return str(value)
        raise site.error(f"{site.name} is {describe(value)}.", did_you_mean(str(value), names))

    return rule


def items(each: Rule, low: int = 0, high: int = 1_000) -> Rule:
    """Return a rule for a list of `low` to `high` items that each keep a rule."""

    def rule(value: Any, site: Site) -> list[Any]:
        if not isinstance(value, Items):
            raise site.wrong(value, "a list")
        found = []
        for item, line in zip(value, value.lines, strict=True):
            item, line = site.resolver.shallow(item, line)
            if item is not ABSENT:
                found.append(each(item, site._replace(line=line)))
        if not low <= len(found) <= high:
            raise site.error(f"{site.name} has {len(found)} items.", f"Write {low} to {high}.")
        return found

    return rule


class Mapped:
    """A rule for a mapping with the members in `rules` and no others; `together` looks at all of them at last."""

    def __init__(
        self,
        rules: Rules,
        required: Sequence[str] = (),
        together: Callable[[dict[str, Any], Members, Site], None] | None = None,
    ) -> None:
        self.rules = rules
        self.required = required
        self.together = together

    def __call__(self, value: Any, site: Site) -> dict[str, Any]:
        """Check a mapping."""
        if not isinstance(value, Members):
            raise site.wrong(value, f"a mapping of {', '.join(list(self.rules)[:6])}")
        for name in value:
            if name not in self.rules:
                raise site._replace(line=value.lines[name]).error(
                    f"there is no property {name}.", did_you_mean(name, list(self.rules))
                )
        found = _read(value, self.rules, site)
        for name in self.required:
            if name not in found and (self.rules[name] is not None or name not in value):
                raise site.error(f"{name} is missing.", f"Add {name}.")
        if self.together is not None:
            self.together(found, value, site)
        return found


def _read(value: Members, rules: Rules, site: Site) -> dict[str, Any]:
    found = {}
    for name, member in value.items():
        rule = rules[name]
        if rule is None:
            continue
        member, line = site.resolver.shallow(member, value.lines[name])
        if member is not ABSENT:
            found[name] = rule(member, site._replace(name=name, line=line))
    return found


def variables(value: Any, site: Site) -> dict[str, str]:
    """Check environment variables: names that Lambda allows, values as text."""
    if not isinstance(value, Members):
        raise site.wrong(value, "a mapping of names and values")
    found = {}
    for name, member in value.items():
        here = site._replace(name=name, line=value.lines[name])
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]+", name):
            raise here.error(
                f"{name} is no name of a variable.", "Write two or more letters, digits and _, a letter first."
            )
        if name in _RESERVED_VARIABLES:
            raise here.error(f"the variable {name} is set by Lambda itself.", "Choose another name.")
        member, line = site.resolver.shallow(member, here.line)
        if member is not ABSENT:
            found[name] = text()(member, here._replace(line=line))
    return found


def resolved(value: Any, site: Site) -> Any:
    """Take whatever there is, functions replaced."""
    return site.resolver.resolve(value, site.line)


def refused(reason: str, hint: str) -> Rule:
    """Return a rule that refuses a setting by its name."""

    def rule(value: Any, site: Site) -> Any:
        raise site.error(f"{site.name} {reason}.", hint)

    return rule


def only(allowed: int, rule: Rule, reason: str, hint: str) -> Rule:
    """Return a rule that checks a number and refuses all but one: the setting is not built yet."""

    def checked(value: Any, site: Site) -> int:
        found = rule(value, site)
        if found != allowed:
            raise site.error(f"{site.name} is {found}: {reason}.", hint)
        return int(found)

    return checked


_RESERVED_VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
    }
)

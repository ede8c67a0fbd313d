"""What values do in a function's code: which tables and buckets it reaches, and what it does with them.

Nothing is run. Every way through the code is taken: conditions are not looked at, and a value may be any that is
assigned to its name.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import headrace
from headrace.template.gates import awscalls, modules
from headrace.template.gates.modules import Module
from headrace.template.gates.values import (
    NOTHING,
    Class,
    Client,
    Function,
    Imported,
    Instance,
    Method,
    Names,
    Place,
    Prefix,
    Storage,
    Text,
    Use,
    Values,
    Variable,
    frozen,
)

_PACKAGE = Path(headrace.__file__).parent
_DEPTH_MAX = 30
_CONNECT = {"headrace.connect:table": "table", "headrace.connect:bucket": "bucket"}
_NAMED_BY = ("TableName", "Bucket", "StreamName", "FunctionName")


class Flow:
    """The code that a handler reaches: its own folder's, and headrace's. `uses` are the API calls that it makes."""

    def __init__(self, folder: Path, handler: str) -> None:
        self._folder = folder
        self._modules: dict[str, Module | None] = {}
        self._answers: dict[tuple[Any, ...], Values] = {}  # by global name, and by function and arguments
        self.uses: set[Use] = set()
        module, _, name = handler.rpartition(".")
        found = self._module(module)
        self.found = found is not None
        for value in self._global(found, name) if found is not None else ():
            if isinstance(value, Function):
                self._call(value, [], {}, 0)

    def own_modules(self) -> Iterator[Module]:
        """Yield the modules of the function's own folder."""
        for name, module in self._modules.items():
            if module is not None and name.split(".")[0] != "headrace":
                yield module

    def _module(self, name: str) -> Module | None:
        """Return a module of the folder or of headrace; None for any other."""
        if name not in self._modules:
            base = _PACKAGE.parent if name.split(".")[0] == "headrace" else self._folder
            path = base.joinpath(*name.split("."))
            file = next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)
            self._modules[name] = modules.parsed(name, file, file.stat().st_mtime_ns) if file else None
        return self._modules[name]

    def _global(self, module: Module, name: str) -> Values:
        """Return what a name of a module's top level may be."""
        key = (module.name, name)
        if key not in self._answers:
            self._answers[key] = NOTHING  # where it leads to itself
            self._answers[key] = self._defined(module, name, module.names.get(name))
        return self._answers[key]

    def _defined(self, module: Module, name: str, node: ast.AST | None) -> Values:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return frozenset({Function(module, node, ())})
        if isinstance(node, ast.ClassDef):
            return frozenset({Class(module, node)})
        if isinstance(node, ast.Import):
            return frozenset({Imported(modules.imported(node, name))})
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            original = next((each.name for each in node.names if (each.asname or each.name) == name), name)
            return self._member(node.module, original)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            return self._value(node.value, Place(module, {}, 0))
        return NOTHING

    def _member(self, module: str, name: str) -> Values:
        """Return what `from module import name` may be."""
        if f"{module}:{name}" in _CONNECT:
            return frozenset({Imported(f"{module}:{name}")})
        found = self._module(module)
        if found is None or self._module(f"{module}.{name}") is not None:
            return frozenset({Imported(f"{module}.{name}")})
        return self._global(found, name)

    # Expressions.

    def _value(self, node: ast.AST | None, at: Place) -> Values:
        """Return what an expression may be; what it does is noted."""
        match node:
            case ast.Name():
                return at.names[node.id] if node.id in at.names else self._global(at.module, node.id)
            case ast.Constant():
                return frozenset({Text(node.value)}) if isinstance(node.value, str) else NOTHING
            case ast.Lambda():
                return frozenset({Function(at.module, node, frozen(at.names))})
            case ast.Attribute():
                return self._attribute(node, at)
            case ast.Subscript() if modules.is_environment(node.value):
                return _variables(self._value(node.slice, at))
            case ast.Subscript():
                self._value(node.slice, at)
                return self._value(node.value, at)
            case ast.Call():
                return self._call_value(node, at)
            case ast.NamedExpr():
                found = self._value(node.value, at)
                _assign(node.target, found, at.names)
                return found
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                for generator in node.generators:
                    _assign(generator.target, self._value(generator.iter, at), at.names)
        found = NOTHING
        for child in ast.iter_child_nodes(node) if node is not None else ():
            if isinstance(child, ast.expr | ast.keyword | ast.comprehension):
                found |= self._value(child, at)
        return self._joined(node, at) if isinstance(node, ast.JoinedStr) else found

    def _joined(self, node: ast.JoinedStr, at: Place) -> Values:
        """Return how a formatted text begins, up to the first part that is not known."""
        text = ""
        for part in node.values:
            known = _texts(self._value(part.value if isinstance(part, ast.FormattedValue) else part, at))
            if len(known) != 1:
                return frozenset({Prefix(text)}) if text else NOTHING
            text += known[0]
        return frozenset({Text(text)})

    def _attribute(self, node: ast.Attribute, at: Place) -> Values:
        found: Values = NOTHING
        for base in self._value(node.value, at):
            if isinstance(base, Imported):
                found |= self._member(base.name, node.attr)
            elif isinstance(base, Storage | Client):
                found |= {Method(base, node.attr)}
            elif isinstance(base, Instance | Class):
                found |= _of_object(base, node.attr)
            else:
                found |= {base}  # whatever it holds may be what is asked for
        return found

    def _call_value(self, node: ast.Call, at: Place) -> Values:
        positional = [self._value(each, at) for each in node.args]
        keywords = {each.arg: self._value(each.value, at) for each in node.keywords if each.arg}
        if isinstance(node.func, ast.Attribute) and node.func.attr == "get" and modules.is_environment(node.func.value):
            return _variables(positional[0] if positional else NOTHING)
        given = NOTHING.union(*positional, *keywords.values())
        found: Values = NOTHING
        is_known = False
        for target in self._value(node.func, at):
            is_known = is_known or isinstance(target, Function | Method | Class | Imported)
            if isinstance(target, Function):
                found |= self._call(target, positional, keywords, at.depth + 1)
            elif isinstance(target, Method):
                found |= self._use(target, positional, keywords)
            elif isinstance(target, Class):
                found |= {self._instance(target, positional, keywords, at.depth + 1)}
            elif isinstance(target, Imported):
                self._pass_on(given, at.depth)
                found |= _of_library(target.name, positional, keywords)
            else:
                found |= {target}
        if not is_known:  # something that isn't looked into: it may call what it is given, and answer it
            self._pass_on(given, at.depth)
            found |= given
        return found

    def _pass_on(self, values: Values, depth: int) -> None:
        """Note what happens if something calls these values."""
        for each in values:
            if isinstance(each, Function):
                self._call(each, [], {}, depth + 1)
            elif isinstance(each, Method):
                self._use(each, [], {})

    def _use(self, method: Method, positional: list[Values], keywords: Names) -> Values:
        """Note a call of a storage's or client's method."""
        of = method.of
        if isinstance(of, Storage):
            keys = _beginnings(positional[0]) if positional and of.kind == "bucket" else set()
            for call in awscalls.of_storage(of.kind, method.name):
                self.uses |= {Use(*call, of.of, key) for key in keys or {""}}
            return NOTHING
        if method.name in ("get_paginator", "Table", "Bucket", "Object"):
            operations = [
                awscalls.operation(of.service, each) for each in _texts(positional[0] if positional else NOTHING)
            ]
            self.uses |= {Use(of.service, each, None) for each in operations if each}
            return frozenset({of})
        operation = awscalls.operation(of.service, method.name)
        if operation is not None:
            named = NOTHING.union(*(keywords.get(key, NOTHING) for key in _NAMED_BY))
            which = [each for each in named if isinstance(each, Variable | Text)]
            self.uses |= {Use(of.service, operation, each) for each in which} or {Use(of.service, operation, None)}
        return NOTHING

    # Functions and statements.

    def _call(self, function: Function, positional: list[Values], keywords: Names, depth: int) -> Values:
        """Return what a function may answer; the same call is looked through once."""
        names = dict(function.around)
        arguments = function.node.args
        declared = [*arguments.posonlyargs, *arguments.args]
        declared = declared[1:] if declared and declared[0].arg in ("self", "cls") else declared
        for each, value in zip(declared, positional, strict=False):
            names[each.arg] = value
        for each in [*declared, *arguments.kwonlyargs]:
            names[each.arg] = keywords.get(each.arg, names.get(each.arg, NOTHING))
        for rest in filter(None, (arguments.vararg, arguments.kwarg)):
            names[rest.arg] = NOTHING.union(*positional, *keywords.values())
        key = (id(function.node), frozen(names))
        if key not in self._answers:
            self._answers[key] = NOTHING
            if depth <= _DEPTH_MAX:
                at = Place(function.module, names, depth)
                if isinstance(function.node, ast.Lambda):
                    self._answers[key] = self._value(function.node.body, at)
                else:  # twice, for what loops bring along
                    self._answers[key] = self._body(function.node.body, at) | self._body(function.node.body, at)
        return self._answers[key]

    def _instance(self, of: Class, positional: list[Values], keywords: Names, depth: int) -> Instance:
        """Return what calling a class makes; its __init__ is looked through for what it sets."""
        annotated = [each.target for each in of.node.body if isinstance(each, ast.AnnAssign)]
        fields = [each.id for each in annotated if isinstance(each, ast.Name)]
        attributes = dict(zip(fields, positional, strict=False))
        attributes |= {name: keywords[name] for name in fields if name in keywords}
        made = of.method("__init__")
        if made is not None and depth <= _DEPTH_MAX:
            names = dict(zip([each.arg for each in made.args.args[1:]], positional, strict=False)) | keywords
            self._body(made.body, Place(of.module, names, depth))
            attributes |= {name[5:]: value for name, value in names.items() if name.startswith("self.")}
        return Instance(of, frozen(attributes))

    def _body(self, body: list[ast.stmt], at: Place) -> Values:
        """Return what statements may return."""
        found: Values = NOTHING
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                at.names[statement.name] = frozenset({Function(at.module, statement, frozen(at.names))})
            elif isinstance(statement, ast.Import):
                for alias in statement.names:
                    own = alias.asname or alias.name.split(".")[0]
                    at.names[own] = frozenset({Imported(modules.imported(statement, own))})
            elif isinstance(statement, ast.ImportFrom) and statement.module:
                for alias in statement.names:
                    at.names[alias.asname or alias.name] = self._member(statement.module, alias.name)
            elif isinstance(statement, ast.Return):
                found |= self._value(statement.value, at)
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield | ast.YieldFrom):
                found |= self._value(statement.value.value, at)
            else:
                self._statement(statement, at)
                for name in ("body", "orelse", "finalbody"):
                    found |= self._body(getattr(statement, name, []), at)
                for handler in getattr(statement, "handlers", []):
                    found |= self._body(handler.body, at)
        return found

    def _statement(self, statement: ast.stmt, at: Place) -> None:
        """Note what a statement's own expressions do, and which names they are assigned to."""
        match statement:
            case ast.Assign():
                value = self._value(statement.value, at)
                for target in statement.targets:
                    _assign(target, value, at.names)
            case ast.AnnAssign() | ast.AugAssign():
                _assign(statement.target, self._value(statement.value, at), at.names)
            case ast.For() | ast.AsyncFor():
                _assign(statement.target, self._value(statement.iter, at), at.names)
            case ast.With() | ast.AsyncWith():
                for item in statement.items:
                    value = self._value(item.context_expr, at)
                    if item.optional_vars is not None:
                        _assign(item.optional_vars, value, at.names)
            case _:
                for child in ast.iter_child_nodes(statement):
                    if isinstance(child, ast.expr):
                        self._value(child, at)


def _of_object(base: Instance | Class, name: str) -> Values:
    """Return what an attribute may be: what the object's __init__ has set, or a method."""
    kind = base if isinstance(base, Class) else base.of
    found = dict(base.attributes).get(name, NOTHING) if isinstance(base, Instance) else NOTHING
    method = kind.method(name)
    if method is not None:
        around = (("self", frozenset({base})), ("cls", frozenset({kind})))
        found |= {Function(kind.module, method, around)}
    return found


def _of_library(name: str, positional: list[Values], keywords: Names) -> Values:
    """Return what a function that isn't looked into answers: clients and storage for those that make them."""
    first = positional[0] if positional else keywords.get("name") or keywords.get("service_name") or NOTHING
    if name in _CONNECT:
        which = [each for each in first if isinstance(each, Variable | Text)]
        return frozenset(Storage(_CONNECT[name], each) for each in which) or frozenset({Storage(_CONNECT[name], None)})
    if name.startswith(("boto3", "botocore")):
        if name.endswith((".client", ".resource", ".create_client")):
            return frozenset(map(Client, _texts(first)))
        return frozenset({Imported(name)})  # a session, which is asked for a client
    if name == "os.getenv":
        return _variables(first)
    return NOTHING.union(*positional, *keywords.values())


def _assign(target: ast.AST, value: Values, names: Names) -> None:
    for each in ast.walk(target):
        if isinstance(each, ast.Name) and each.id != "self":
            names[each.id] = names.get(each.id, NOTHING) | value
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "self":
            name = f"self.{each.attr}"
            names[name] = names.get(name, NOTHING) | value


def _beginnings(values: Values) -> set[str]:
    """Return how these texts, or those in these objects, begin: up to the first folder's end, as a policy names it."""
    found = {each.value for each in values if isinstance(each, Text | Prefix)}
    for each in values:
        if isinstance(each, Instance):
            found |= _beginnings(NOTHING.union(*(value for _, value in each.attributes)))
    return {text[: text.index("/") + 1] for text in found if "/" in text}


def _texts(values: Values) -> list[str]:
    return [each.value for each in values if isinstance(each, Text)]


def _variables(values: Values) -> Values:
    return frozenset(map(Variable, _texts(values)))

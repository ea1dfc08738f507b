"""What classes take, read off their sources: nothing is imported, so that torch is not waited for.

Names are followed from file to file through imports; parameters that `**options` stand for, to the parent or to the
TypedDict that types them. What can't be read so, such as a class made at run time, is None, and whoever asks leaves it
to those who import it.
"""

import functools
import importlib.machinery
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import griffe

# names of types that are no class with arguments
_PLAIN = {"None", "int", "float", "bool", "str", "list", "dict", "tuple", "Callable", "Sequence", "Iterable", "Union",
          "Optional", "Any", "Tensor", "Path"}  # fmt: skip
_VARIADIC = (griffe.ParameterKind.var_positional, griffe.ParameterKind.var_keyword)


@dataclass(frozen=True)
class Parameter:
    """One argument of a class.

    Attributes:
        name: As it is given.
        annotation: Its type as the source has it; empty where there is none.
        default: As the source has it; None where one must be given.
        meaning: What the docstring says of it; empty where it says nothing.
        scope: Module in which the names of annotation and default mean something.
    """

    name: str
    annotation: str
    default: str | None
    meaning: str
    scope: str


@dataclass(frozen=True)
class Signature:
    """What a class takes.

    Attributes:
        parameters: By name, in order.
        is_whole: Whether it takes nothing else; False where some of it can't be read.
    """

    parameters: dict[str, Parameter]
    is_whole: bool


@functools.cache
def read_signature(class_path: str, method: str = "__init__") -> Signature | None:
    """Read what a class, or a function that makes one, takes; None where that can't be read.

    Args:
        class_path: Dotted, as in a config.
        method: Of the class; its own arguments are read.
    """
    found = _find(class_path)
    if isinstance(found, griffe.Function):
        return _of_function(found, found, frozenset())
    return _of_class(found, method, frozenset()) if isinstance(found, griffe.Class) else None


@functools.cache
def classes_of(annotation: str, scope: str) -> tuple[str, ...]:
    """Return the dotted paths of the classes that an annotation names, as far as they can be found."""
    found = [_find(f"{scope}.{name}") for name in _names(annotation) if name not in _PLAIN]
    return tuple(each.path for each in found if isinstance(each, griffe.Class))


@functools.cache
def alias_of(annotation: str, scope: str) -> str:
    """Return what an annotation stands for where it is a name for a longer one, as `Level` for a Literal."""
    if not annotation.isidentifier() or annotation in _PLAIN:
        return annotation
    found = _find(f"{scope}.{annotation}")
    is_alias = isinstance(found, griffe.Attribute) and found.value is not None
    return str(found.value) if isinstance(found, griffe.Attribute) and is_alias else annotation


@functools.cache
def constant_of(default: str, scope: str) -> str:
    """Return the value of a default that is the name of a constant."""
    value = alias_of(default, scope)
    return value if value and value[0] in "0123456789-'\"([" else default


def is_given_without_path(class_path: str) -> bool:
    """Whether a class is given by its arguments alone, without a `class_path`.

    So are dataclasses, typed dictionaries, and classes that can't be derived from.
    """
    found = _find(class_path)
    if not isinstance(found, griffe.Class):
        return False
    return _has_fields(found) or any(each.callable_path == "typing.final" for each in found.decorators)


def _names(annotation: str) -> list[str]:
    if annotation.startswith("Literal"):
        return []
    cleaned = "".join(letter if letter.isalnum() or letter in "._" else " " for letter in annotation)
    return cleaned.split()


def _of_class(found: griffe.Class, method: str, seen: frozenset[str]) -> Signature | None:
    if found.path in seen:
        return None
    seen |= {found.path}
    own = found.members.get(method)
    if isinstance(own, griffe.Function):
        return _of_function(own, found, seen)
    if method == "__init__" and _has_fields(found):
        return _of_fields(found, seen)
    parents = [_of_class(parent, method, seen) for parent in _parents(found)]
    return next((parent for parent in parents if parent is not None), None)


def _of_function(function: griffe.Function, holder: griffe.Class | griffe.Function, seen: frozenset[str]) -> Signature:
    meanings = _meanings(holder) | _meanings(function)
    scope = function.module.path
    parameters: dict[str, Parameter] = {}
    is_whole = True
    for given in list(function.parameters)[1 if isinstance(holder, griffe.Class) else 0 :]:
        if given.kind in _VARIADIC:
            passed_on = _passed_on(given, function, holder, seen) if given.kind == _VARIADIC[1] else None
            is_whole = is_whole and (passed_on is not None and passed_on.is_whole)
            for name, inner in (passed_on.parameters if passed_on else {}).items():
                parameters.setdefault(name, inner)
            continue
        default = None if given.default is None else str(given.default)
        annotation = "" if given.annotation is None else str(given.annotation)
        meaning = meanings.get(given.name, "")
        parameters[given.name] = Parameter(given.name, annotation, default, meaning, scope)
    return Signature(parameters, is_whole)


def _passed_on(
    given: griffe.Parameter, function: griffe.Function, holder: griffe.Class | griffe.Function, seen: frozenset[str]
) -> Signature | None:
    """Return what `**options` stand for: the TypedDict that types them, or what the parents take."""
    annotation = "" if given.annotation is None else str(given.annotation)
    if "Unpack" in annotation:
        named = _find(f"{function.module.path}.{_names(annotation)[-1]}")
        return _of_class(named, "__init__", seen) if isinstance(named, griffe.Class) else None
    return None


def _of_fields(found: griffe.Class, seen: frozenset[str]) -> Signature:
    parameters: dict[str, Parameter] = {}
    for parent in _parents(found):
        inherited = _of_class(parent, "__init__", seen) if _has_fields(parent) else None
        parameters |= inherited.parameters if inherited else {}
    meanings = _meanings(found)
    for name, member in found.members.items() if _declares_fields(found) else ():
        if isinstance(member, griffe.Attribute) and member.annotation is not None and not name.startswith("_"):
            annotation, default = str(member.annotation), None if member.value is None else str(member.value)
            if "instance-attribute" in member.labels and "init=False" not in (default or ""):
                scope = found.module.path
                parameters[name] = Parameter(name, annotation, default, meanings.get(name, ""), scope)
    return Signature(parameters, is_whole=True)


def _has_fields(found: griffe.Class) -> bool:
    return _declares_fields(found) or any(map(_has_fields, _parents(found)))


def _declares_fields(found: griffe.Class) -> bool:
    decorators = [str(decorator.value) for decorator in found.decorators]
    return any("dataclass" in text for text in decorators) or any("TypedDict" in str(base) for base in found.bases)


def _parents(found: griffe.Class) -> Iterator[griffe.Class]:
    for base in found.bases:
        name = str(base).partition("[")[0]
        parent = _find(f"{found.module.path}.{name}")
        if isinstance(parent, griffe.Class):
            yield parent


def _meanings(holder: griffe.Class | griffe.Function) -> dict[str, str]:
    """Return what a docstring says of each argument, its lines joined."""
    if holder.docstring is None:
        return {}
    sections = holder.docstring.parse("google", warnings=False)
    kinds = (griffe.DocstringSectionKind.parameters, griffe.DocstringSectionKind.attributes)
    items = [item for section in sections if section.kind in kinds for item in section.value]
    return {item.name: " ".join(item.description.split()) for item in items}


@functools.cache
def _find(path: str) -> griffe.Object | None:
    """Find what a dotted path names, through as many imports as it takes."""
    return _follow(path, set())


def _follow(path: str, seen: set[str]) -> griffe.Object | None:
    """Follow a path; `seen` takes those that were tried, as modules may import each other."""
    while path not in seen:
        seen.add(path)
        module, rest = _split(path)
        if module is None or not rest:
            return module
        member = module.members.get(rest[0])
        if isinstance(member, griffe.Alias):
            path = ".".join([member.target_path, *rest[1:]])
        elif member is not None:
            return _inside(member, rest[1:])
        else:
            imports = [each for each in module.members.values() if isinstance(each, griffe.Alias) and each.wildcard]
            stars = [each.target_path for each in imports if _module(each.target_path) is not None]
            found = (_follow(".".join([star, *rest]), seen) for star in stars)
            return next((each for each in found if each is not None), None)
    return None


def _inside(member: griffe.Object | griffe.Alias, rest: list[str]) -> griffe.Object | None:
    for name in rest:
        inner = member.members.get(name) if isinstance(member, griffe.Class) else None
        if inner is None:
            return None
        member = inner
    return member if isinstance(member, griffe.Object) else None


def _split(path: str) -> tuple[griffe.Module | None, list[str]]:
    """Split a path into the deepest module that is there and what follows; a package's last name hides a file."""
    parts = path.split(".")
    module = _module(parts[0])
    position = 1
    while module is not None and position < len(parts):
        is_last = position == len(parts) - 1
        deeper = None if is_last and parts[position] in module.members else _module(".".join(parts[: position + 1]))
        if deeper is None:
            break
        module, position = deeper, position + 1
    return module, parts[position:]


@functools.cache
def _module(name: str) -> griffe.Module | None:
    """Read the source of a module, its parents' not run; None where it has none."""
    places: list[str] | None = None
    parts = name.split(".")
    spec = None
    for position in range(len(parts)):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[: position + 1]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    source = Path(spec.origin).read_text(encoding="utf-8")
    is_package = bool(spec.submodule_search_locations)
    return griffe.visit(name, Path(spec.origin), source, docstring_parser="google") if source or is_package else None

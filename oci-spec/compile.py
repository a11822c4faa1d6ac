#!/usr/bin/python3
"""Compiles config.schema.json to straight-line Python, pyrunc/_schema.py (build time only).

    compile.py OUTPUT     write the module
    compile.py            print it

The generated module has one function per entry point of ENTRIES. Each returns None if the document
has the right shape, else where it has not, and appends to `odd` the name of each object that has
an unknown member or lacks a required one. The module also carries the schema as text, for
pyrunc/normal.py.

Tests use source() to compile the schemas as they are written. The run time is as lax as runc, which
decodes into Go structures: it sees types and widths only. relax() turns one into the other.

A keyword or pattern that is not in the tables below stops the build: a change of the schema can
not pass silently. `re` is 7 ms of start-up, so patterns are translated by hand.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Definitions that become functions of their own in the generated module.
ENTRIES = {"config": "", "process": "/$defs/process", "resources": "/$defs/resources"}

# --- policy: what the schema refuses but runc accepts ---

POLICY = {
    "required": "filled",  # Go: the zero value, which pyrunc/normal.py puts there
    "enum": "semantic",  # Go: a string. The module that uses the value refuses it in runc's words
    "pattern": "semantic",  # the same
    "minItems": "semantic",  # the same
    "type": "enforced",  # Go: "cannot unmarshal string into ... of type uint32"
    "minimum": "enforced",  # Go: the widths of integers
    "maximum": "enforced",
    "properties": "enforced",  # wrong case, null and duplicates: normalised, see pyrunc/normal.py
    "additionalProperties": "enforced",
    "items": "enforced",
    "$ref": "enforced",
    "$defs": "enforced",
}
WIDER = {
    "permissions": "uint32",  # engines send st_mode with its type bits
    "timeout": "int64",  # spec.py refuses 0 and less, and says which hook
}
FOREIGN = ("freebsd", "zos")  # other platforms: ignored on Linux, whatever is inside

# --- what the compiler knows ---

IGNORED = ("$schema", "$id", "$defs", "title", "description")
TYPES = {
    "object": "dict",
    "array": "list",
    "string": "str",
    "boolean": "bool",
    "integer": "int",  # `type(v) is int`: neither a bool nor 1.0 is one
    "null": "None.__class__",
}
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Pattern -> a Python expression that is true if {v} does NOT match. Written out because `$` of
# Python's re also matches before a final newline, and the schema means ECMA's. `x.strip(SET)` is
# empty if all characters of x are in SET.
PATTERNS = {
    "^RLIMIT_[A-Z]+$": f'{{v}}[:7] != "RLIMIT_" or not {{v}}[7:] or {{v}}[7:].strip("{UPPER}")',
    "^CAP_[A-Z_]+$": f'{{v}}[:4] != "CAP_" or not {{v}}[4:] or {{v}}[4:].strip("_{UPPER}")',
    "^[cbup]$": '{v} not in ("c", "b", "u", "p")',
    "^[1-9][0-9]*[KMG]B$": '{v}[-2:] not in ("KB", "MB", "GB") or not {v}[:-2] '
    'or {v}[0] == "0" or {v}[:-2].strip("0123456789")',
    "^MB:[^\\n]*$": '{v}[:3] != "MB:" or "\\n" in {v}',
    "^[0-9, -]*$": '{v}.strip("0123456789, -")',
}


def load(name: str) -> dict:
    """The schema file of that name, as it is written."""
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return json.load(file)


def relax(schema: dict) -> dict:
    """The config schema as runc would have it."""
    made = {}
    for keyword, value in schema.items():
        if keyword in IGNORED and keyword != "$defs":
            continue
        policy = POLICY.get(keyword)
        if policy is None:
            raise SystemExit(f"no policy for keyword {keyword!r}")
        if policy == "semantic":
            continue
        if keyword in ("properties", "$defs"):
            value = {
                name: {"type": "object"} if name in FOREIGN else relax(sub)
                for name, sub in value.items()
            }
        elif keyword in ("items", "additionalProperties"):
            value = relax(value)
        made[keyword] = value
    for name, wider in WIDER.items():
        if name in made.get("$defs", {}):
            made["$defs"][name] = {"$ref": f"#/$defs/{wider}"}
    return made


class Compiler:
    """Emits one module.

    documents: the files seen, by name;  functions: names by absolute reference;  fill: a required
    member that is missing is odd, not an error.
    """

    def __init__(self, name: str, schema: dict, fill: bool) -> None:
        self.documents = {name: schema}
        self.fill = fill
        self.functions: dict[str, str] = {}
        self.pending: list[tuple[str, dict, str]] = []
        self.lines: list[str] = []
        self.depth = 1
        self.count = 0

    def function(self, reference: str, schema: dict, document: str, name: str) -> None:
        """Remember to emit `schema` as a function."""
        self.functions[reference] = name
        self.pending.append((name, schema, document))

    def emit(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def run(self) -> str:
        """Emit all pending functions and those they need."""
        while self.pending:
            name, schema, document = self.pending.pop(0)
            self.lines += ["", "", f"def {name}(v, odd):"]
            self.count = 0
            self.node(schema, document, "v", "")
            self.emit("return None")
        return "\n".join(self.lines).strip("\n") + "\n"

    def resolve(self, reference: str, document: str) -> "tuple[dict, str, str]":
        """The schema a $ref means, its document, and its absolute reference."""
        name, _, pointer = reference.partition("#")
        name = name or document
        if name not in self.documents:
            self.documents[name] = load(name)
        schema = self.documents[name]
        for part in pointer.split("/")[1:]:
            schema = schema[part]
        return schema, name, f"{name}#{pointer}"

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def block(self, opening: str) -> None:
        self.emit(opening)
        self.depth += 1

    def end(self) -> None:
        self.depth -= 1

    def refuse(self, condition: str, path: str) -> None:
        self.block(f"if {condition}:")
        self.emit(f"return {path!r}")
        self.end()

    def node(self, schema: dict, document: str, v: str, path: str) -> None:
        """Emit the checks of `schema` on the variable v. path: where that is, for the reader."""
        known = {*IGNORED, "$ref", "type", "enum", "minimum", "maximum", "pattern", "minItems"}
        known |= {"items", "properties", "additionalProperties", "required", "if", "then"}
        unknown = schema.keys() - known
        if unknown:
            raise SystemExit(f"{document}: {path}: unknown keyword {sorted(unknown)[0]!r}")
        if "$ref" in schema:
            if schema.keys() - {"$ref", "description"}:
                raise SystemExit(f"{document}: {path}: $ref with other keywords")
            return self.reference(schema["$ref"], document, v, path)
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        optional = "null" in types
        types = [name for name in types if name != "null"]
        if len(types) != 1 or not set(types) <= TYPES.keys():
            raise SystemExit(f"{document}: {path}: unknown type {schema.get('type')!r}")
        if optional:
            self.block(f"if {v} is not None:")
        getattr(self, types[0])(schema, document, v, path)
        if optional:
            self.end()
        return None

    def reference(self, reference: str, document: str, v: str, path: str) -> None:
        """A small definition is repeated in place; a structure used twice becomes a function."""
        schema, name, absolute = self.resolve(reference, document)
        function = self.functions.get(absolute)
        if function is None and self.uses(absolute) > 1 and self.structured(schema, name):
            function = "_" + absolute.rpartition("/")[2].replace(".schema.json#", "")
            self.function(absolute, schema, name, function)
        if function is None:
            self.node(schema, name, v, path)
            return
        where = self.fresh()
        self.emit(f"{where} = {function}({v}, odd)")
        self.block(f"if {where} is not None:")
        self.emit(f"return {path!r} + {where}")
        self.end()

    def structured(self, schema: dict, document: str) -> bool:
        """Whether it has members or items with members."""
        while "$ref" in schema or "items" in schema:
            if "$ref" in schema:
                schema, document, _ = self.resolve(schema["$ref"], document)
            else:
                schema = schema["items"]
        return "properties" in schema

    def uses(self, absolute: str) -> int:
        """How often the loaded documents refer to that definition."""
        name, _, pointer = absolute.partition("#")
        total = 0
        for document, schema in self.documents.items():
            text = json.dumps(schema)
            total += text.count(json.dumps({"$ref": f"{name}#{pointer}"})[1:-1])
            if document == name:
                total += text.count(json.dumps({"$ref": f"#{pointer}"})[1:-1])
        return total

    # --- one method per type ---

    def boolean(self, schema: dict, document: str, v: str, path: str) -> None:
        self.refuse(f"{v} is not True and {v} is not False", path)

    def integer(self, schema: dict, document: str, v: str, path: str) -> None:
        low, high = schema["minimum"], schema["maximum"]  # an integer without a width is an error
        self.refuse(f"type({v}) is not int or not {low} <= {v} <= {high}", path)

    def string(self, schema: dict, document: str, v: str, path: str) -> None:
        condition = f"type({v}) is not str"
        if "enum" in schema:
            condition += f" or {v} not in {tuple(schema['enum'])!r}"
        if "pattern" in schema:
            if schema["pattern"] not in PATTERNS:
                raise SystemExit(f"{document}: {path}: unknown pattern {schema['pattern']!r}")
            condition += " or " + PATTERNS[schema["pattern"]].format(v=v)
        self.refuse(condition, path)

    def array(self, schema: dict, document: str, v: str, path: str) -> None:
        condition = f"type({v}) is not list"
        if "minItems" in schema:
            condition += f" or len({v}) < {schema['minItems']}"
        self.refuse(condition, path)
        if "items" in schema:
            item = self.fresh()
            self.block(f"for {item} in {v}:")
            self.node(schema["items"], document, item, f"{path}[]")
            self.end()

    def object(self, schema: dict, document: str, v: str, path: str) -> None:
        self.refuse(f"type({v}) is not dict", path)
        for name in schema.get("required", ()):
            if self.fill:
                self.block(f"if {name!r} not in {v}:")
                self.emit(f"odd.append({path!r})")
                self.end()
            else:
                self.refuse(f"{name!r} not in {v}", path)
        self.members(schema, document, v, path)
        if "if" in schema:
            self.condition(schema["if"], schema["then"], v, path)

    def members(self, schema: dict, document: str, v: str, path: str) -> None:
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        if rest is not None and not isinstance(rest, dict):
            raise SystemExit(f"{document}: {path}: unknown members are legal everywhere")
        if not properties and rest is None:
            return
        key, value = self.fresh(), self.fresh()
        self.block(f"for {key}, {value} in {v}.items():")
        word = "if"
        for name, sub in properties.items():
            self.block(f"{word} {key} == {name!r}:")
            self.node(sub, document, value, f"{path}.{name}")
            self.end()
            word = "elif"
        if properties:
            self.block("else:")
        if rest is not None:
            self.node(rest, document, value, f"{path}.*")
        else:
            self.emit(f"odd.append({path!r})")
        if properties:
            self.end()
        self.end()

    def condition(self, test: dict, then: dict, v: str, path: str) -> None:
        """The one form there is: if a member is one of these, others are required."""
        name = test["required"][0]
        values = test["properties"][name]["enum"]
        expected = {"required": [name], "properties": {name: {"enum": values}}}
        if test != expected or then.keys() != {"required"}:
            raise SystemExit(f"{path}: unknown form of if and then")
        for member in then["required"]:
            self.refuse(f"{v}[{name!r}] in {tuple(values)!r} and {member!r} not in {v}", path)


def source(name: str, schema: dict, entries: "dict[str, str]", fill: bool = False) -> str:
    """The checks of a schema as Python. entries: function name -> JSON pointer into the schema."""
    compiler = Compiler(name, schema, fill)
    for function, pointer in entries.items():
        target, document, absolute = compiler.resolve(f"#{pointer}", name)
        compiler.function(absolute, target, document, function)
    return compiler.run()


def module() -> str:
    """The text of pyrunc/_schema.py."""
    schema = relax(load("config.schema.json"))
    text = json.dumps(schema, separators=(",", ":"))
    return (
        '"""The shape of config.json. Generated by oci-spec/compile.py: do not edit."""\n\n'
        + source("config.schema.json", schema, ENTRIES, fill=True)
        + f"\n\nTEXT = {text!r}\n"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as output:
            output.write(module())
    else:
        sys.stdout.write(module())

"""What in a module's source could change rules or files: every place, by the syntax tree, whatever calls it.

Not a proof against code that hides what it does; it keeps a way of writing from coming in unnoticed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

ROOM = "c2c_auditor"
# The one module that starts programs, and the one that makes files (where an operator asks for a capture). TLS writes
# to a file in memory, because OpenSSL takes a key by name only. The agent's own socket is removed before it is made.
RUNNER = f"{ROOM}/sources/rules/command.py"
CAPTURE = f"{ROOM}/sources/recordings/writing.py"
WRITERS = frozenset({CAPTURE, f"{ROOM}/server/tls.py", f"{ROOM}/server/local.py"})
# libc's own functions are called for the agent's capabilities, to copy a legacy table, and to receive many datagrams.
PRIVILEGES = f"{ROOM}/privileges.py"
SOCKOPT = f"{ROOM}/sources/rules/sockopt.py"
MANY = f"{ROOM}/sources/rules/many.py"
_LIBC_READS = {SOCKOPT: "getsockopt", MANY: "recvmmsg"}
LIBIPTC = f"{ROOM}/sources/rules/libiptc.py"

# Options of iptables and iptables-save that only show.
_SHOWS = frozenset({"-c", "-t", "-S", "-L", "-n", "-v", "-x", "-w", "--line-numbers", "--version"})
_NAME_ENDS = re.compile(r"(?:-nft|-legacy)?(?:-save)?")  # of programs that show
_STARTS = re.compile(r"(?:exec|spawn|posix_spawn)\w*|system|popen|fork(?:pty)?|startfile")
_DYNAMIC = frozenset({"eval", "exec", "__import__", "import_module", "run_module", "run_path"})
_FILES = frozenset(
    {
        "write_text",
        "write_bytes",
        "mkdir",
        "makedirs",
        "unlink",
        "rmdir",
        "removedirs",
        "rmtree",
        "rename",
        "renames",
        "touch",
        "chmod",
        "lchmod",
        "chown",
        "symlink_to",
        "hardlink_to",
        "symlink",
        "link",
        "mkfifo",
        "mknod",
        "truncate",
        "copyfile",
        "copytree",
        "move",
        "mkdtemp",
        "mkstemp",
    }
)
# What copies a table and walks through the copy.
LIBIPTC_READS = frozenset(
    {"init", "free", "first_chain", "next_chain", "get_policy", "first_rule", "next_rule", "get_target"}
)
_LIBIPTC_WRITES = re.compile(
    r"(?:iptc_)?(?:commit|(?:append|insert|replace|delete|delete_num|flush|zero)_entr(?:y|ies)"
    r"|(?:create|delete|rename)_chain|set_policy|set_counter|zero_counter)"
)
_RESTORE = re.compile(r"tables\S*-restore")


def ways_to_write(path: str, source: str) -> list[str]:
    """Each way to write in the module at ``path`` (as in the wheel), as ``line: what``."""
    tree = ast.parse(source)
    prose = _docstrings(tree)
    runs = any(_imports_runner(node) for node in ast.walk(tree))
    netlink = any(isinstance(node, ast.Attribute) and node.attr == "AF_NETLINK" for node in ast.walk(tree))
    found = []
    for node in ast.walk(tree):
        if id(node) not in prose:
            found += [f"{getattr(node, 'lineno', 0)}: {what}" for what in _node(node, path, runs=runs, netlink=netlink)]
    return found


def _docstrings(tree: ast.AST) -> set[int]:
    """Strings that are statements: what they say is not done."""
    statements = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(value) for value in statements if isinstance(value, ast.Constant)}


def _imports_runner(node: ast.AST) -> bool:
    """Whether it brings in the function that starts programs, or the module with it."""
    module = RUNNER.removesuffix(".py").replace("/", ".")
    if isinstance(node, ast.Import):
        return any(alias.name == module for alias in node.names)
    names = {f"{node.module}.{alias.name}" for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
    return bool(names & {module, f"{module}.run"})


def _node(node: ast.AST, path: str, *, runs: bool, netlink: bool) -> Iterator[str]:
    match node:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            yield from _imported({module or "", *(alias.name for alias in names)}, path)
        case ast.Constant(value=str(text)):
            yield from _said(text, path, runs=runs)
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            yield from _called(node, name, path)
            yield from _sent(node, name, netlink=netlink)
        case _:
            pass


def _imported(names: set[str], path: str) -> Iterator[str]:
    tops = {name.partition(".")[0] for name in names}
    if tops & {"subprocess", "pty"} and path != RUNNER:
        yield "starts programs past the one runner"
    if "iptc" in tops and path != LIBIPTC:
        yield "uses python-iptables past the one place for it"


def _said(text: str, path: str, *, runs: bool) -> Iterator[str]:
    if _RESTORE.search(text):
        yield f"names a program that loads rules: {text!r}"
    first = next(iter(text.split()), "")
    if runs and first.startswith("-") and first not in _SHOWS and not _NAME_ENDS.fullmatch(first):
        yield f"may hand a program an option that does more than show: {text!r}"
    if path == LIBIPTC and _LIBIPTC_WRITES.fullmatch(text):
        yield f"names a function of libiptc that writes: {text!r}"


def _called(node: ast.Call, name: str, path: str) -> Iterator[str]:
    """A call by the last part of its name: ``os.execv`` and ``execv`` alike."""
    owner = node.func.value.id if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) else ""
    if owner == "os" and _STARTS.fullmatch(name):
        yield f"starts a program: {name}"
    if name in _DYNAMIC and not (name == "exec" and owner):
        yield f"runs what cannot be read here: {name}"
    if name in {"CDLL", "PyDLL"} and path not in {PRIVILEGES, *_LIBC_READS}:
        yield f"calls C functions: {name}"
    if owner in {"libc", "_libc"} and path != PRIVILEGES and name != _LIBC_READS.get(path):
        yield f"calls a C function that does more than read: {name}"
    if _LIBIPTC_WRITES.fullmatch(name):
        yield f"calls a function of libiptc that writes: {name}"
    if path not in WRITERS and (
        name in _FILES
        or (owner == "os" and name == "remove")
        or (name == "replace" and len(node.args) == 1)
        or _opens_to_write(node, name)
    ):
        yield f"writes files: {name}"


def _opens_to_write(node: ast.Call, name: str) -> bool:
    """``open`` and ``os.open`` with a mode or flags other than for reading; a mode that cannot be read counts."""
    if name not in {"open", "fdopen"}:
        return False
    words = [*node.args, *(keyword.value for keyword in node.keywords)]
    flags = {part.attr for word in words for part in ast.walk(word) if isinstance(part, ast.Attribute)}
    if any(flag.startswith("O_") for flag in flags):
        return bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"})
    modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return any(re.fullmatch(r"[rwxabt+U]{1,4}", mode) and set(mode) & set("wxa+") for mode in modes)


def _sent(node: ast.Call, name: str, *, netlink: bool) -> Iterator[str]:
    """In a module that speaks netlink every header (length, type, flags, number, port) is of a message that asks.

    nf_tables changes by NEW and DEL messages inside a batch; each is a type of its own, so only GET is let through.
    """
    if netlink and name == "pack" and len(node.args) == 5:
        kind = node.args[1]
        if not (isinstance(kind, ast.Name) and re.fullmatch(r"_?GET[A-Z]+", kind.id.lstrip("_"))):
            yield f"may send a netlink message that changes something: {ast.unparse(kind)}"
    if name == "setsockopt" and not (node.args and re.search(r"SOL_SOCKET|SOL_NETLINK|TCP", ast.unparse(node.args[0]))):
        yield "sets an option that may replace a table"


def libiptc_functions(source: str) -> set[str]:
    """The functions of libiptc that the module declares, by the keys of the table of their signatures."""
    return {
        str(key.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple)
    }

"""The rules of the house as code: who may import whom, what is banned, which labels exist, what is public.

Everything is read from the source by AST, so that a rule holds for lines no test happens to run. Each scanner
is first tried on a planted offence: a rule that cannot be broken in a test is a comment.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from protocols import errors as protocol_errors
from tests.rows import rows

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("secagg", "dp", "protocols")

# Every module of `protocols`, or a package whose files belong together, may import what stands above it only.
ORDER = (
    "errors",
    "wire",
    "party",
    "certificates",
    "heads",
    "plan",
    "coding",
    "selftesting",
    "verifying",
    "messages",
    "submission",
    "invitation",
    "ckks.binding",
    "ckks.epoch",
    "ckks.messages",
    "ckks.single_messages",
    "ckks.seeded_messages",
    "oneshot.epoch",
    "oneshot.messages",
    "codec",
    "countersigning",
    "pairwise.session",
    "pairwise.recovery",
    "pairwise.client",
    "pairwise.server",
    "ckks.vector",
    "ckks.modes",
    "ckks.questions",
    "ckks.holder",
    "ckks.keys",
    "ckks.client",
    "ckks.server",
    "ckks.decryptor",
    "ckks.single_server",
    "ckks.seeded",
    "ckks.seeded_server",
    "ckks.summary",
    "oneshot.shape",
    "oneshot.member",
    "oneshot.convener",
    "oneshot.client",
    "oneshot.server",
    "ideal",
    "endpoint",
    "storage",
    "durable",
    "bundle",
    "committee",
    "sites",
    "roster",
    "home",
    "charging",
    "exchanges",
    "cohort",
    "simulate",
    "faults",
    "sizes",
    "costs",
    "encrypted_costs",
    "oneshot_sizes",
    "oneshot_costs",
    "choices",
    "pairwise_planning",
    "oneshot_planning",
    "encrypted_planning",
    "planning",
    "tensors",
    "round",
    "canary_rounds",
    "participation",
    "private_plan",
    "private",
    "adversary",
    "trial",
    "budgets",
    "foreign",
    "curves",
    "auditing",
    "learning",
    "report",
    "bookkeeping",
    "publishing",
    "adapters",
    "cli",
)
# Files of the command line; nothing else knows typer.
COMMANDS = ("app", "audits", "bench", "budgets", "inverting", "keeping", "ledgers", "options", "process", "rounds")
# Their first page says what the files are about, and imports nothing.
PACKAGES_OF_ROLES = ("protocols.pairwise", "protocols.ckks", "protocols.oneshot")
# A party has no clock, no wire and no thread: `party` to `endpoint` of the list above.
PURE = ORDER[: ORDER.index("endpoint") + 1]
WORLDLY = {
    "asyncio",
    "concurrent",
    "datetime",
    "http",
    "multiprocessing",
    "os",
    "queue",
    "random",
    "secrets",
    "select",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "urllib",
}
# What may be imported beyond the standard library and our own packages; inside functions only where so marked.
FOREIGN = {
    "secagg": {"numpy", "cryptography", "scipy", "tenseal", "zstandard"},
    "dp": {"numpy", "cryptography", "scipy"},
    "protocols": {"numpy", "rich", "typer", "scipy", "sklearn", "torch", "matplotlib"},
}
ONLY_IN = {
    "tenseal": {"secagg.ckks.seal"},
    "zstandard": {"secagg.ckks.seal"},
    "torch": {"protocols.tensors", "protocols.learning.models", "protocols.adapters.pfl"},
    "dp_accounting": {"protocols.foreign"},
    "pfl": {"protocols.adapters.pfl"},
    "nvflare": {f"protocols.adapters.{name}" for name in ("nvflare", "nvflare_parties", "nvflare_tasks")},
    "sklearn": {"protocols.learning.data"},
    "matplotlib": {"protocols.report.plots"},
    "rich": {"protocols.report.tables", "protocols.report.live", "protocols.report.progress"},
    "typer": {f"protocols.cli.{part}" for part in COMMANDS},
    "flwr": {
        "protocols.adapters.flower",
        *(f"protocols.adapters.flower.{part}" for part in ("accountant", "client", "inner", "nodes", "post")),
        *(f"protocols.adapters.flower.{part}" for part in ("records", "server")),
    },
}
ONLY_INSIDE_FUNCTIONS = {"scipy", "dp_accounting", "torch", "sklearn", "matplotlib", "tenseal", "zstandard"}
MAY_SEED_NUMPY = {
    "protocols.simulate",
    "protocols.faults",
    "protocols.learning",
    # The attack's own pictures and weights.
    "dp.audit.glyphs",
    "dp.audit.network",
}
MAY_ASK_THE_SYSTEM = {
    "secagg.keys": "the one source of roots and keys",
    "dp.entropy": "the one source of noise",
    "dp.ledger.genesis": "a ledger's id, its keys, and the salts of its openings",
    "dp.ledger.session": "a session's name in its lock",
    "dp.ledger.book": "how long to back off",
    "protocols.endpoint.server": "the nonce of an attempt",
}
# Named by the tree and awaiting the protocol, the plots and the command that raise them.
NOT_YET_RAISED: set[str] = set()


@dataclass(frozen=True)
class Module:
    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def modules() -> list[Module]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            dotted = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
            found.append(Module(dotted.removesuffix(".__init__"), path.read_text(encoding="utf-8")))
    return found


MODULES = modules()
NAMES = {module.name for module in MODULES}
each = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


@dataclass(frozen=True)
class Imported:
    """One import: the module, the name taken from it, and whether a function does it."""

    module: str
    name: str
    inside: bool


def imports(module: Module) -> Iterator[Imported]:
    """Import statements at any depth, and `import_module("...")` of a literal name."""

    def walk(node: ast.AST, inside: bool) -> Iterator[Imported]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Imported(alias.name, "", inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module.name}: imports are absolute here"
                yield from (Imported(child.module or "", alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.Call) and named(child.func) == "import_module":
                yield from (Imported(str(a.value), "", inside) for a in child.args if isinstance(a, ast.Constant))
            yield from walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    yield from walk(module.tree, inside=False)


def named(node: ast.AST) -> str:
    """The last name of an expression: f in a.b.f, in f(...), and in f[...]."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return named(node.func)
    if isinstance(node, ast.Subscript):
        return named(node.value)
    return ""


def dotted(node: ast.AST) -> str:
    """a.b.c of an attribute chain."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def ours(imported: Imported) -> str | None:
    """The module of ours that an import reaches, if any."""
    full = f"{imported.module}.{imported.name}"
    if full in NAMES:
        return full
    return imported.module if imported.module in NAMES else None


@functools.cache
def used_names(*packages: str) -> frozenset[str]:
    """Every name and attribute that is read somewhere in these packages."""
    return frozenset(
        named(node)
        for module in MODULES
        if module.package in packages
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
    )


def planted(source: str, name: str = "protocols.party") -> Module:
    return Module(name, source)


# --- who may import whom --------------------------------------------------------------------------


def foreign_offences(module: Module) -> list[str]:
    offences = []
    for imported in imports(module):
        top = imported.module.partition(".")[0]
        if top in sys.stdlib_module_names or top == "__future__":
            continue
        if top in PACKAGES:
            if module.package != "protocols" and top != module.package:
                offences.append(f"{module.package} does not know {top}")
            continue
        allowed_here = ONLY_IN.get(top)
        if allowed_here is not None and module.name not in allowed_here:
            offences.append(f"{top} belongs to {sorted(allowed_here)}")
        elif allowed_here is None and top not in FOREIGN[module.package]:
            offences.append(f"{module.package} does not import {top}")
        if top in ONLY_INSIDE_FUNCTIONS and not imported.inside:
            offences.append(f"{top} is imported inside functions only")
    return offences


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("secagg.ring", "import dp"),
        ("secagg.ring", "from protocols.party import Party"),
        ("secagg.ring", "import scipy"),
        ("secagg.ring", "def f():\n    import tenseal"),
        ("dp.noise", "from secagg.keys import Seed"),
        ("dp.noise", "import scipy.special"),
        ("dp.noise", "import pandas"),
        ("protocols.party", "import flwr"),
        ("protocols.round", "def f():\n    import torch"),
        ("protocols.tensors", "import torch"),
        ("protocols.round", "import importlib\ndef f():\n    importlib.import_module('sklearn.datasets')"),
    ],
)
def test_the_scan_for_foreign_imports_finds_a_planted_one(name: str, source: str) -> None:
    assert foreign_offences(planted(source, name))


@each
def test_a_package_imports_only_what_it_may(module: Module) -> None:
    assert foreign_offences(module) == []


def place_of(name: str) -> int:
    """Where a module of `protocols` stands in the order."""
    short = name.removeprefix("protocols.")
    return max(index for index, entry in enumerate(ORDER) if short == entry or short.startswith(entry + "."))


def upward(module: Module) -> list[str]:
    offences = []
    for imported in imports(module):
        target = ours(imported)
        if target is None or not target.startswith("protocols.") or target in PACKAGES_OF_ROLES:
            continue
        if target == module.name or place_of(target) > place_of(module.name):
            offences.append(f"{module.name} imports {target}, which stands below it")
    return offences


def test_every_module_of_protocols_has_its_place_in_the_order() -> None:
    packages = {"protocols", *PACKAGES_OF_ROLES, "protocols.faults"}
    for name in sorted(NAMES - packages):
        if name.startswith("protocols."):
            assert place_of(name) >= 0
    assert {entry for entry in ORDER if f"protocols.{entry}" not in NAMES} == set()


def test_the_scan_for_upward_imports_finds_a_planted_one() -> None:
    assert upward(planted("from protocols.endpoint import Client"))
    assert upward(planted("from protocols import codec"))
    assert upward(planted("def f():\n    from protocols.pairwise import client"))
    assert not upward(planted("from protocols.errors import Misused"))


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if m.package == "protocols" and m.name not in ("protocols", *PACKAGES_OF_ROLES)],
    ids=lambda module: module.name,
)
def test_protocols_import_downwards_only(module: Module) -> None:
    assert upward(module) == []


def test_no_two_modules_import_each_other() -> None:
    """Inside a package too; imports inside functions exist to be late and are left out."""
    edges = {
        module.name: {target for imp in imports(module) if not imp.inside and (target := ours(imp)) is not None}
        for module in MODULES
        if module.name not in PACKAGES
    }
    reached: dict[str, set[str]] = {}

    def below(name: str, path: tuple[str, ...]) -> set[str]:
        assert name not in path, " -> ".join((*path, name))
        if name not in reached:
            direct = edges.get(name, set()) - {name}
            reached[name] = direct.union(*(below(other, (*path, name)) for other in direct))
        return reached[name]

    for name in edges:
        below(name, ())


def worldly(module: Module) -> list[str]:
    found = [imported.module.partition(".")[0] for imported in imports(module)]
    may_ask = module.name.startswith("protocols.endpoint")
    offences = [top for top in found if top in WORLDLY and not (top == "os" and may_ask)]
    offences += [
        dotted(node)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and dotted(node).startswith("os.")
        and dotted(node) not in ("os.urandom", "os.getpid")
    ]
    return offences


def test_the_scan_for_clocks_and_wires_finds_planted_ones() -> None:
    for source in (
        "import time",
        "from socket import socket",
        "def f():\n    import threading",
        "import os\nos.environ",
    ):
        assert worldly(planted(source))
    assert worldly(planted("import os\nos.getenv()", "protocols.endpoint"))
    assert not worldly(planted("import os\nos.getpid()", "protocols.endpoint"))
    assert not worldly(planted("import os\nos.urandom(16)", "protocols.endpoint"))


@pytest.mark.parametrize("name", PURE)
def test_a_party_has_no_clock_wire_thread_or_hidden_randomness(name: str) -> None:
    own = f"protocols.{name}"
    files = [module for module in MODULES if module.name == own or module.name.startswith(own + ".")]
    assert files
    assert [offence for module in files for offence in worldly(module)] == []


# --- what is banned everywhere --------------------------------------------------------------------

BANNED_MODULES = {"random", "pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "secrets"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_TORCH = {"load", "save", "rand", "randn", "randint", "randperm", "normal", "manual_seed", "seed", "Generator"}


def may_seed(name: str) -> bool:
    return any(name == allowed or name.startswith(allowed + ".") for allowed in MAY_SEED_NUMPY)


def banned(module: Module) -> list[str]:
    offences = [i.module for i in imports(module) if i.module.partition(".")[0] in BANNED_MODULES]
    offences += [f"{i.module}.{i.name}" for i in imports(module) if "numpy.random" in f"{i.module}.{i.name}"]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
            offences.append(node.func.id)
        if isinstance(node, ast.Attribute):
            chain = dotted(node)
            if re.fullmatch(r"(np|numpy)\.random\.\w+", chain):
                seeded = chain.endswith((".default_rng", ".Generator"))
                offences += [] if seeded and may_seed(module.name) else [chain]
            if chain.startswith("torch.") and chain.split(".")[1] in BANNED_TORCH:
                offences.append(chain)
            if chain == "os.urandom" and module.name not in MAY_ASK_THE_SYSTEM:
                offences.append(chain)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            offences += [] if isinstance(node.value, ast.Constant) and node.value.value is False else ["allow_pickle"]
        if isinstance(node, ast.Call) and dotted(node.func).endswith("random.default_rng") and not node.args:
            offences.append("default_rng without a seed")
    return offences


@rows("K6")
@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from random import choice",
        "import numpy.random",
        "from numpy.random import default_rng",
        "import numpy as np\nnp.random.default_rng(3)",
        "import numpy as np\nnp.random.seed(3)",
        "import pickle",
        "eval('1')",
        "exec('1')",
        "torch.load('x')",
        "torch.normal(0, 1)",
        "torch.Generator()",
        "import os\nos.urandom(3)",
        "np.load('x', allow_pickle=True)",
    ],
)
def test_the_scan_for_banned_names_finds_a_planted_one(row: str, source: str) -> None:
    assert banned(planted(source, "protocols.round"))


def test_a_seed_is_asked_for_even_where_numpy_may_be_seeded() -> None:
    assert banned(planted("import numpy as np\nnp.random.default_rng()", "protocols.simulate"))
    assert not banned(planted("import numpy as np\nnp.random.default_rng(3)", "protocols.learning.data"))


@rows("K6")
@each
def test_no_banned_name_is_used(row: str, module: Module) -> None:
    assert banned(module) == []


# A framework that sends the text of whatever escapes from a node to the server.
MAY_KEEP_EVERYTHING = {"protocols.adapters.flower.client"}


def broad_handlers(module: Module) -> list[int]:
    """Lines of handlers that catch everything and do not raise it again as their last act."""
    found = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(kind is None or named(kind) in ("Exception", "BaseException") for kind in caught)
        last = node.body[-1]
        if broad and not (isinstance(last, ast.Raise) and last.exc is None):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "handler",
    ["except:\n    pass", "except Exception:\n    pass", "except (ValueError, BaseException) as e:\n    f(e)"],
)
def test_the_scan_for_broad_handlers_finds_a_planted_one(handler: str) -> None:
    assert broad_handlers(planted(f"try:\n    f()\n{handler}"))
    assert not broad_handlers(planted("try:\n    f()\nexcept BaseException:\n    g()\n    raise"))


@each
def test_no_handler_swallows_what_it_does_not_know(module: Module) -> None:
    # There it is one, and it writes what it caught into the node's own log.
    assert len(broad_handlers(module)) == (module.name in MAY_KEEP_EVERYTHING)


@each
def test_nothing_is_a_stub_or_left_for_later(module: Module) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", module.source)
    for node in ast.walk(module.tree):
        raised = node.exc if isinstance(node, ast.Raise) and node.exc is not None else None
        assert raised is None or named(raised) != "NotImplementedError", f"line {node.lineno}"


# The command line's options are parameters by the way typer reads them; nobody calls those by position.
@pytest.mark.parametrize(
    "module", [m for m in MODULES if not m.name.startswith("protocols.cli.")], ids=lambda module: module.name
)
def test_no_function_takes_a_boolean_by_position(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef):
            flags = [
                arg.arg for arg in node.args.args if arg.annotation is not None and named(arg.annotation) == "bool"
            ]
            assert flags == [], f"{node.name} in line {node.lineno}"


# --- secrets, tags and labels -----------------------------------------------------------------------

GUARDED = re.compile(
    r"^_?(?:\w+_)?(tag|digest|fingerprint|commitment|committed|secret|seed|share|mac|answered)(?:_of)?$"
)


def plain_comparisons(module: Module) -> list[str]:
    """Tags, digests and secrets compared by == or !=, whose time tells where they differ."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            sides = [side for side in (node.left, *node.comparators) if GUARDED.match(named(side))]
            found += [f"line {node.lineno}: {ast.unparse(node)}" for _ in sides[:1]]
    return found


@rows("K8")
@pytest.mark.parametrize(
    "source",
    ["tag_of(x) != tag", "a.commitment == b", "fingerprint == self._answered", "share != other", "digest(x) == y"],
)
def test_the_scan_for_plain_comparisons_finds_a_planted_one(row: str, source: str) -> None:
    assert plain_comparisons(planted(source))
    assert not plain_comparisons(planted("hmac.compare_digest(tag, other)\nlen(shares) == 3"))


@rows("K8")
@each
def test_tags_digests_and_secrets_are_compared_in_constant_time(row: str, module: Module) -> None:
    assert plain_comparisons(module) == []


def labels(module: Module) -> dict[str, bytes]:
    """LABEL_X = b"..." and LABEL_X = PREFIX + b"..." of a module."""
    known: dict[str, bytes] = {}

    def value_of(node: ast.expr) -> bytes | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            return node.value
        if isinstance(node, ast.Name):
            return known.get(node.id)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = value_of(node.left), value_of(node.right)
            return None if left is None or right is None else left + right
        return None

    for statement in module.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            value = value_of(statement.value)
            if value is not None and statement.targets[0].id.startswith(("LABEL", "PREFIX")):
                known[statement.targets[0].id] = value
    return {name: value for name, value in known.items() if name.startswith("LABEL")}


LABELS = {(module.name, name): value for module in MODULES for name, value in labels(module).items()}


@rows("K5")
def test_all_labels_are_found_and_distinct_and_begin_alike(row: str) -> None:
    assert len(LABELS) > 30
    assert ("protocols.pairwise.session", "LABEL_TAG") in LABELS
    assert all(label.startswith(b"secagg/v1/") for label in LABELS.values())
    owners: dict[bytes, tuple[str, str]] = {}
    for owner, label in LABELS.items():
        assert label not in owners, f"{owner} and {owners[label]} share {label!r}"
        owners[label] = owner


def test_labels_hold_no_zero_byte_so_that_a_derivation_can_be_read_in_one_way() -> None:
    assert all(re.fullmatch(rb"[a-z0-9/-]+", label) for label in LABELS.values())


@each
def test_a_label_is_a_constant_with_a_name(module: Module) -> None:
    """No purpose is spelled inside an expression, where no test would find it."""
    constants = {
        id(node) for statement in module.tree.body if isinstance(statement, ast.Assign) for node in ast.walk(statement)
    }
    loose = [
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, bytes)
        and node.value.startswith(b"secagg/")
        and id(node) not in constants
    ]
    assert loose == []


@pytest.mark.parametrize("owner", LABELS, ids=lambda owner: f"{owner[0]}.{owner[1]}")
def test_every_label_has_a_use(owner: tuple[str, str]) -> None:
    assert owner[1] in used_names(*PACKAGES)


# --- errors -----------------------------------------------------------------------------------------


def test_every_named_error_of_protocols_is_raised_somewhere() -> None:
    tree = {
        name
        for name, value in vars(protocol_errors).items()
        if isinstance(value, type) and issubclass(value, protocol_errors.ProtocolError) and not value.__subclasses__()
    }
    assert tree - used_names("protocols") == NOT_YET_RAISED


# --- what importing costs, and what is public ---------------------------------------------------------

HEAVY = ("torch", "dp_accounting", "tenseal", "scipy", "matplotlib", "flwr", "sklearn", "nvflare", "pfl", "pandas")


def loaded_by(statements: str) -> set[str]:
    script = f"{statements}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statements",
    [
        "import secagg, dp, protocols",
        "from protocols import Client, FaultPlan, NoisePlan, Policy, Promise, RoundPlan, Server, Task, secure_mean",
        "import protocols.cli",
    ],
    ids=["packages", "names", "command"],
)
def test_importing_loads_nothing_heavy(statements: str) -> None:
    assert loaded_by(statements) & set(HEAVY) == set()


def test_importing_the_packages_alone_loads_not_even_numpy() -> None:
    assert loaded_by("import secagg, dp, protocols") & {"numpy", "cryptography", "typer", "rich"} == set()


PUBLIC = {
    "secagg": """
        Against AgreementKey Assumption BadBox BadCiphertext BadParameters BadPoint BadShare BadSignature
        ClipExceeded Context Correction Encoding EntropyUnavailable Graph GraphMode Hit Identity NoParameters
        NonFinite OnExcess Overflow Parameters Quorum Ring Rounding SecaggError Secret Seed Selection Share Stream
        Workers WrongContext check_point combine derive expand expand_into find_parameters largest_feasible_dropout
        mask_into open_box public_of seal split unmask_into verify
    """,
    "protocols": """
        Client Convener Credential Decryptor DecryptorPolicy DurableClient DurableDecryptor DurableHolder
        DurableMember DurableServer Excess FaultPlan Holder HolderPolicy KeyMaker Layout Member MemberPolicy Metric
        NoisePlan Policy PrivateTraining Promise RoundPlan RoundReport Server Task check_model exit_on_sigterm
        keys_for_rounds make_private secure_mean
    """,
}


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names_are_pinned(package: str) -> None:
    assert importlib.import_module(package).__all__ == PUBLIC[package].split()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_resolves_and_the_type_checker_sees_the_same_ones(package: str) -> None:
    loaded = importlib.import_module(package)
    assert dir(loaded) == loaded.__all__ == sorted(loaded.__all__)
    assert all(getattr(loaded, name) is not None for name in loaded.__all__)
    [module] = [module for module in MODULES if module.name == package]
    for_types = {
        alias.asname
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is not None
    }
    assert for_types == set(loaded.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = loaded.nothing


def own_methods(kind: type) -> Iterator[str]:
    """The names of what a class itself offers to be called or read."""
    for name, found in vars(kind).items():
        function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_and_method_says_what_it_is(package: str) -> None:
    loaded = importlib.import_module(package)
    named = {name: getattr(loaded, name) for name in loaded.__all__}
    classes = {name: each for name, each in named.items() if inspect.isclass(each)}
    spoken = classes | {name: each for name, each in named.items() if inspect.isfunction(each)}
    silent = [name for name, each in spoken.items() if not each.__doc__]
    for name, kind in classes.items():
        silent += [f"{name}.{method}" for method in own_methods(kind) if not inspect.getdoc(getattr(kind, method))]
    assert classes
    assert silent == []

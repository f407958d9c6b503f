"""The documentation is true: its commands and programs run, its examples are valid, its links lead somewhere.

A block that cannot run here has a line ``<!-- not run: reason -->`` before it.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT
from typer.main import get_command

import synthgen
from synthgen.cli.main import app
from synthgen.errors import SynthgenError
from synthgen.specs.files import init_text, load_spec
from synthgen.specs.spec import Spec

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
ALL_PAGES = [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md")), *sorted(ROOT.glob("C*.md"))]
NOT_RUN = ("make", "git", "pip", "source")
"""Commands that set up what the tests stand on."""
BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n\n?)?^( *)```(\w*)\n(.*?)^\2```$", re.DOTALL | re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
CODE_PATH = re.compile(
    r"`((?:tests|benchmarks|docs|generator|synthgen|blender_assets|pose_spaces|shape_spaces|training)/[\w./-]+)`"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    line: int
    runs: bool


@dataclass(frozen=True)
class Command:
    text: str
    expected: tuple[str, ...]
    """Lines that the page shows of what it prints."""


def blocks(page: str, kind: str | None = None) -> list[Block]:
    found = [
        Block(match[3], re.sub(f"^{match[2]}", "", match[4], flags=re.MULTILINE),
              page.count("\n", 0, match.start(4)), match[1] is None)
        for match in BLOCK.finditer(page)
    ]  # fmt: skip
    return [block for block in found if kind in {None, block.kind}]


def commands(page: str) -> Iterator[Command]:
    """What a page has typed at ``$``, with what it shows of the answer."""
    for block in blocks(page, "console"):
        if not block.runs:
            continue
        text = block.text.replace("\\\n", " ")
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            typed, *shown = part.splitlines()
            if typed.split()[0] not in NOT_RUN:
                yield Command(typed, tuple(line for line in shown if line.strip() and "…" not in line))


def execute(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def run_page(page: Path, folder: Path) -> list[str]:
    """Run a page's commands, then its programs; return what went wrong."""
    text = page.read_text(encoding="utf-8")
    wrong = []
    for command in commands(text):
        done = execute(["bash", "-c", command.text], folder)
        said = done.stdout + done.stderr
        if done.returncode:
            wrong.append(f"$ {command.text}\nexit status {done.returncode}\n{said}")
        wrong += [
            f"$ {command.text}\nprints no line {line!r} but\n{said}" for line in command.expected if line not in said
        ]
    for block in blocks(text, "python"):
        if block.runs and ">>>" not in block.text:
            done = execute([sys.executable, "-c", block.text], folder)
            if done.returncode:
                wrong.append(f"{page.name}:{block.line}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return wrong


@pytest.fixture(scope="module")
def tour(tmp_path_factory) -> tuple[Path, list[str]]:
    """A folder in which the README's tour was taken, which the other pages go on from."""
    folder = tmp_path_factory.mktemp("tour")
    return folder, run_page(README, folder)


@pytest.mark.bpy
@pytest.mark.slow
def test_the_tour_of_the_readme_runs(tour):
    assert tour[1] == []


@pytest.mark.bpy
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_commands_and_programs_of_the_docs_run(page, tour):
    assert run_page(page, tour[0]) == []


def test_the_readme_renders_reads_and_opens_with_the_two_commands():
    text = README.read_text(encoding="utf-8")
    typed = [command.text for command in commands(text)]

    assert any(line.startswith("synthgen render") for line in typed)
    assert len(blocks(text, "python")) >= 2
    first = blocks(text)[0].text
    assert "make demo" in first
    assert "make test" in first


def test_what_is_not_run_says_why_and_is_little():
    marked = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8")) if not block.runs]
    run = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8")) if block.runs]

    assert len(marked) < len(run) / 2


def example_specs() -> list:
    found = []
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8"), "yaml"):
            data = yaml.safe_load(block.text)
            if block.runs and isinstance(data, dict) and data.keys() <= Spec.model_fields.keys():
                found.append(pytest.param(page, block, id=f"{page.name}:{block.line}"))
    return found


@pytest.mark.parametrize(("page", "block"), example_specs())
def test_every_example_of_a_spec_can_be_drawn_from(page, block, tmp_path):
    from synthgen.generator.scene import Scene

    for command in commands(page.read_text(encoding="utf-8")):
        if command.text.startswith("printf"):  # writes a file that the example names
            execute(["bash", "-c", command.text], tmp_path)
    part = yaml.safe_load(block.text)
    landmarks = part.get("landmarks")
    model = landmarks["model"] if isinstance(landmarks, dict) else part.get("model", "hand")
    whole = yaml.safe_load(init_text(model)) | part
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")

    assert Scene(load_spec(tmp_path / "mine.yaml")).posed(0).labels.landmarks_px.shape[1] == 2


def options() -> dict[str, set[str]]:
    """The options of every command."""
    found: dict[str, set[str]] = {}

    def walk(name: str, command) -> None:
        for child_name, child in getattr(command, "commands", {}).items():
            walk(f"{name} {child_name}", child)
        if not hasattr(command, "commands"):
            found[name] = {
                option for parameter in command.params for option in parameter.opts if option.startswith("-")
            }

    walk("synthgen", get_command(app))
    return found


def spoken() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def test_every_command_and_option_is_told():
    text = spoken()
    told = set(OPTION.findall(text))

    assert [name for name in options() if name not in text] == []
    assert sorted({option for chosen in options().values() for option in chosen} - told - {"--help"}) == []


def said_commands(text: str) -> list[str]:
    """What a page has said of the command line: in its blocks, without their comments, and in its running text."""
    lines = [line.partition(" #")[0] for block in blocks(text) for line in block.text.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    plain = [line.replace('", "', " ").replace('"', " ") for line in lines]
    return [said for line in plain for said in re.findall(r"(?:^(?:\$ )?|')(synthgen [a-z].*)", line)]


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_no_page_tells_of_a_command_or_an_option_that_is_not_there(page):
    known = options()
    for said in said_commands(page.read_text(encoding="utf-8")):
        name = next((name for name in known if f"{said} ".startswith(f"{name} ")), None)
        assert name or any(group.startswith(f"{said} ") for group in known), said
        assert name is None or set(OPTION.findall(said)) <= known[name] | {"-h", "--help"}, said


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_links_and_named_files_are_there(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    missing = [path for path in CODE_PATH.findall(text) if not (ROOT / path).exists()]
    for target in LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or (anchor and anchor not in headings(file)):
            missing.append(target)

    assert missing == []


def test_every_page_is_linked_from_the_readme():
    text = README.read_text(encoding="utf-8")

    assert [page.name for page in PAGES[1:] if f"(docs/{page.name}" not in text] == []


def test_pages_that_are_wrong_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one \\\n  two\none two\n$ git nonsense\n```\n```python\nprint(1)\n```\n")
    assert run_page(page, tmp_path) == []

    assert said_commands(page.read_text()) == []
    assert said_commands("`synthgen rendr` and\n```sh\nsynthgen render --spec x # synthgen y\n```\n") == [
        "synthgen render --spec x",
        "synthgen rendr",
    ]

    page.write_text("<!-- not run: needs a cluster -->\n```console\n$ false\n```\n")
    assert run_page(page, tmp_path) == []

    page.write_text(
        "```console\n$ false\n$ echo three\ntwo\n```\n1. text\n   ```python\n   raise SystemExit(3)\n   ```\n"
    )
    assert [text.splitlines()[0] for text in run_page(page, tmp_path)] == [
        "$ false",
        "$ echo three",
        "page.md:7: exit status 3",
    ]

    with pytest.raises(SynthgenError):
        load_spec(page)


CARDS = [ROOT / "generator" / "dataset" / "card.txt", ROOT / "training" / "hub" / "model_card.txt"]


def private_names(program: str) -> list[str]:
    """What a program takes from synthgen that is not public."""
    wrong = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            wrong += [alias.name for alias in node.names if alias.name.startswith("synthgen.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "synthgen":
            names = {alias.name for alias in node.names}
            wrong += [f"{node.module}.{name}" for name in names if node.module != "synthgen" or name not in PUBLIC]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "synthgen":
            wrong += [f"synthgen.{node.attr}"] if node.attr not in PUBLIC else []
    return wrong


PUBLIC = set(synthgen.__all__)


@pytest.mark.parametrize("page", [*ALL_PAGES, *CARDS], ids=lambda page: page.name)
def test_programs_use_public_names_only(page):
    text = page.read_text(encoding="utf-8").replace("$settings", "")
    programs = [block.text for block in blocks(text, "python") if ">>>" not in block.text]

    assert [name for program in programs for name in private_names(program)] == []


def test_private_names_are_found():
    assert private_names("import synthgen\nsynthgen.draw('hand', 0)\nfrom synthgen import render") == []
    assert private_names("import synthgen.specs.files") == ["synthgen.specs.files"]
    assert private_names("from synthgen.specs import files") == ["synthgen.specs.files"]
    assert private_names("from synthgen import generator") == ["synthgen.generator"]
    assert private_names("import synthgen\nsynthgen.gone()") == ["synthgen.gone"]


def test_the_python_page_lists_exactly_the_public_names():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `synthgen\.(\w+)` \|", text, re.MULTILINE)
    programs = "\n".join(block.text for block in blocks(text, "python"))

    assert sorted(listed) == sorted(synthgen.__all__)
    assert [name for name in listed if f"synthgen.{name}" not in programs] == []
    assert [name for name in listed if getattr(synthgen, name, None) is None] == []

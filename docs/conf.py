"""Sphinx's settings of the site: the repository's own pages and an API reference; docs/build.sh builds it.

The source folder is the repository, so that links between its pages hold here as on a code host.
"""

import ast
import os
import re
from importlib import import_module
from pathlib import Path

from docutils import nodes
from math_core import LatexToMathML

from jahslib import paths

ROOT = paths.ROOT

project = "jahslib"
root_doc = "README"
html_title = "jahslib"
include_patterns = ["README.md", "docs/*.md", "docs/studies/*.md", "docs/api/*", "benchmarks/**.md", "data/README.md"]
exclude_patterns = [".*", "_build", "docs/_build", "results", "figs", "tests", "paper", "jahslib", "notebooks"]
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]

html_theme = "furo"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["site.css"]
html_extra_path = ["_extra"]
html_math_renderer = "mathml"
html_show_sphinx = html_show_copyright = False
smartquotes = False  # "cpu" in a docstring is code to copy
html_copy_source = False
html_show_search_summary = False
html_use_index = html_domain_indices = False  # the search finds more

myst_enable_extensions = ["dollarmath", "html_image"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

autodoc_inherit_docstrings = False  # an override without words is described where it comes from
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
add_module_names = False
default_role = "py:obj"  # `name` in a docstring: code, and a link where it names something of ours
napoleon_use_ivar = True
suppress_warnings = ["misc.highlighting_failure"]  # an excerpt of a Typst file is no whole one
nitpicky = True
nitpick_ignore_regex = [  # other libraries' names, and of ours the private ones and the variables of types
    ("py:obj", ".*"),
    ("py:.*", r"(?!jahslib\.).*|.*\.(_\w+|AnyProblem|Given|Key|Kind|Model|P|Value)"),
]

CONTENTS = {
    "Studies": ["docs/studies/*", "docs/figures"],
    "Guide": ["docs/[!f]*", "data/README"],
    "Benchmarks": ["benchmarks/*", "benchmarks/peers/README"],
    "Reference": ["docs/api/jahslib"],
}


def prepare(app, name, text):
    """Add the navigation to the front page, and lead links to source files and folders to what stands for them here."""
    folder = ROOT / name

    def link(found):
        path = found[2].partition("#")[0]
        target = Path(os.path.normpath(folder.parent / path))
        if not path or ":" in path or not target.is_relative_to(ROOT):
            return found[0]
        inside = target.relative_to(ROOT)
        if inside.parts[:1] == ("jahslib",) and (target.is_dir() or target.suffix == ".py"):
            name = ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
            return f"{{py:mod}}`{found[1][1:-1].strip('`')} <{name}>`"
        return found[1][1:-1] if target.is_dir() else found[0]

    text[0] = re.sub(r"(\[[^]\n]*\])\(([^)\s]+)\)", link, text[0])
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            head = f"\n\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n"
            text[0] += "\n".join([head, *pages, "```\n"])


def reference(app):
    """Write docs/api/: a page of every package, a section of each of its modules with all public names."""
    for file in sorted((ROOT / "jahslib").rglob("__init__.py")):
        package = ".".join(file.parent.relative_to(ROOT).parts)
        parts = [f"{package}\n{'=' * len(package)}\n\n.. automodule:: {package}\n"]
        found = import_module(package)
        for name in getattr(found, "__all__", ()):
            home = getattr(getattr(found, name), "__module__", f"{package}.{name}")  # `search` is a package
            parts.append(f"- :py:obj:`{name} <{home}.{name}>`")
        for module in sorted(file.parent.glob("[a-z]*.py")):
            name = f"{package}.{module.stem}"
            body = ast.parse(module.read_text("utf-8")).body
            names = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
            public = ", ".join(name for name in names if not name.startswith("_"))
            members = f"   :members: {public}\n   :show-inheritance:\n" if public else ""
            parts.append(f"\n{name}\n{'-' * len(name)}\n\n.. automodule:: {name}\n{members}")
        below = sorted(folder.parent.name for folder in file.parent.glob("*/__init__.py"))
        if below:
            rows = "\n".join(f"   {name} <{package}.{name}>" for name in below)
            parts.append(f"\n.. toctree::\n   :hidden:\n\n{rows}\n")
        paths.write(ROOT / "docs" / "api" / f"{package}.rst", "\n".join(parts))


def literal(app, what, name, thing, options, lines):
    """Mark indented blocks of a docstring as code, as Markdown has them, and take bars for bars."""
    lines[:] = [line if "`" in line or line.startswith(" ") else line.replace("|", r"\|") for line in lines]
    for i in range(len(lines) - 1, 1, -1):
        before = next((line for line in reversed(lines[:i]) if line), "")
        if lines[i].startswith("    ") and not lines[i - 1] and before[:1].strip():
            lines[i:i] = ["::", ""]


def parsable(app, what, name, thing, options, signature, returned):
    """Replace defaults such as `<factory>`, which keep Sphinx from reading a signature."""
    return re.sub(r"<[^<>]+>", "...", signature or "") or None, returned


def mathml(*, display):
    """Make the visitor of an equation, which writes it as MathML: no script, no font, nothing fetched."""
    converter = LatexToMathML()

    def visit(self, node):
        self.body.append(converter.convert_with_local_state(node.astext(), displaystyle=display))
        raise nodes.SkipNode

    return visit


def setup(app):
    app.connect("builder-inited", reference)
    app.connect("autodoc-process-docstring", literal, priority=1)  # before napoleon
    app.connect("autodoc-process-signature", parsable)
    app.connect("source-read", prepare)
    app.add_html_math_renderer("mathml", (mathml(display=False), None), (mathml(display=True), None))

"""celeryconfig.py, my_ml_app.py and use_ml_app.py, as they are written."""

import ast

from conftest import ROOT


def test_student_files_fit_on_a_screen_and_know_nothing_of_the_lab():
    for name in ("celeryconfig.py", "my_ml_app.py", "use_ml_app.py"):
        source = (ROOT / name).read_text()
        assert len(source.splitlines()) <= 50, name
        imported = {n.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for n in node.names}
        imported |= {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
        assert not any(module.split(".")[0] in ("lab", "exercises", "tests") for module in imported), name

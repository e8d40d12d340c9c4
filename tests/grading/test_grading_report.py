"""Names of files and cells of tables."""

from kdcourse.grading import report


def test_file_names_are_safe_and_differ():
    names = ["ada", "Ada", "../../etc/passwd", "a/b", "a b", "", "💥", "x" * 300, "con", "‮evil"]
    slugs = list(map(report.slug, names))
    assert len(set(map(str.lower, slugs))) == len(names)
    assert all(
        len(slug) < 60
        and set(slug) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
        for slug in slugs
    )


def test_formulas_are_text_in_tables():
    table = report._csv(("a",), [("=1+1",), ("\t@x",), ("-2",), (-2,), ("fine\r\nnext",)])
    assert table.split("\r\n") == ["a", "'=1+1", "'@x", "'-2", "-2", "fine next", ""]

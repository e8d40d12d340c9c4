"""What axe-core finds in a page that hinders people."""

# Findings that are not ours to mend: rule and a part of the element.
NOT_OURS = {
    # ipywidgets gives the handle of a slider no name; its label stands before it
    ("aria-input-field-name", "noUi-handle"),
}


def says(page, node: dict) -> str:
    """The beginning of the text of the element that was found."""
    return " ".join(page.locator(node["target"][0]).first.inner_text().split())[:200]


def serious(page, *selectors: str) -> list[str]:
    """Serious and critical findings in the elements that are selected, as lines."""
    from axe_playwright_python.sync_playwright import Axe

    response = Axe().run(page, context={"include": [[selector] for selector in selectors]}).response
    return [
        f"{found['help']} ({found['id']}, {found['impact']}): {node['html'][:200]}, which says: {says(page, node)}"
        for found in response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
        if not any(rule == found["id"] and part in node["html"] for rule, part in NOT_OURS)
    ]

"""What axe-core finds in a page that hinders people."""

# Findings that are not ours to mend: rule and a part of the element.
NOT_OURS = {
    # ipywidgets gives the handle of a slider no name; its label stands before it
    ("aria-input-field-name", "noUi-handle"),
    # Sphinx writes the arguments of a long signature as a list of definitions without terms
    ("definition-list", "<dl>"),
}


def says(page, node: dict) -> str:
    """The beginning of the text of the element that was found."""
    return " ".join(page.locator(node["target"][0]).first.inner_text().split())[:200]


def serious(page, *selectors: str, dark: bool = False) -> list[str]:
    """Serious and critical findings in the elements that are selected, as lines. dark: only what a
    theme can change.
    """
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"]} | ({"runOnly": ["color-contrast"]} if dark else {})
    response = (
        Axe().run(page, {"include": [[selector] for selector in selectors]}, options).response
    )
    return [
        f"{found['help']} ({found['id']}, {found['impact']}): {node['html'][:200]}, which says: "
        f"{says(page, node)}"
        for found in response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
        if not any(rule == found["id"] and part in node["html"] for rule, part in NOT_OURS)
    ]

"""What axe-core finds in a page that hinders people."""

# Findings that are not ours to mend: rule and a part of the element, with the reason.
NOT_OURS = {
    (
        "aria-input-field-name",
        "noUi-handle",
    ): "ipywidgets gives the handle of a slider no name; its label stands before it",
}


def serious(page, *selectors: str) -> list[str]:
    """Serious and critical findings in the elements that are selected, as lines."""
    from axe_playwright_python.sync_playwright import Axe

    response = Axe().run(page, context={"include": [[selector] for selector in selectors]}).response
    return [
        f"{found['id']} ({found['impact']}): {found['help']}: {node['html'][:300]} {node['failureSummary']}"
        for found in response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
        if not any(rule == found["id"] and part in node["html"] for rule, part in NOT_OURS)
    ]

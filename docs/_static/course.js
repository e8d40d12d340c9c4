// What scrolls by itself can be reached with the Tab key, so that arrow keys scroll it. (The theme sees to code.)
window.addEventListener("load", () => {
  for (const element of document.querySelectorAll(".bd-article .cell_output, .bd-article .formula")) {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
  }
});

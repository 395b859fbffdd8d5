// Names and keyboard access that the theme leaves out. It wraps tables after the page is loaded.
const mend = () => {
  document.querySelectorAll(".md-search[role=dialog]:not([aria-label])").forEach((each) => each.setAttribute("aria-label", "Search"));
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach((each) => each.setAttribute("tabindex", "0"));
};
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
mend();

// Without it the page reloads itself; with it only what changed is replaced, so that a screen reader says no more than that.
"use strict";
const progress = document.getElementById("progress");
async function look() {
  try {
    const answer = await fetch("/steps", { credentials: "same-origin", cache: "no-store" });
    const phase = answer.headers.get("x-phase");
    if (!answer.ok || phase !== progress.dataset.phase) return location.reload();
    const text = await answer.text();
    if (text.trim() !== progress.dataset.seen) {
      progress.dataset.seen = text.trim();
      progress.innerHTML = text;
    }
  } catch {
    // The appliance may be starting anew: look again.
  }
  setTimeout(look, 1500);
}
setTimeout(look, 500);

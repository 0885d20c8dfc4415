// Without it the page reloads itself. With it only what changed is replaced: a screen reader says what is new, and does not
// read the seconds out.
"use strict";
const progress = document.getElementById("progress");
const part = (of, name) => of.querySelector(`[data-part=${name}]`);
async function look() {
  try {
    const answer = await fetch("/steps", { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok || answer.headers.get("x-phase") !== progress.dataset.phase) return location.reload();
    const fresh = document.createElement("div");
    fresh.innerHTML = await answer.text();
    for (const name of ["said", "counting"]) {
      const [old, now] = [part(progress, name), part(fresh, name)];
      if (old.innerHTML !== now.innerHTML) old.innerHTML = now.innerHTML;
    }
  } catch {
    // The appliance may be starting anew: look again.
  }
  setTimeout(look, 1500);
}
setTimeout(look, 500);

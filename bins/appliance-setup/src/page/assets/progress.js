// Without this script the page reloads itself. The script replaces only the parts that changed, so a
// screen reader announces new text, but not every second of the countdown.
"use strict";
const progress = document.getElementById("progress");
const part = (root, name) => root.querySelector(`[data-part=${name}]`);
async function refresh() {
  try {
    const response = await fetch("/steps", { credentials: "same-origin", cache: "no-store" });
    if (!response.ok || response.headers.get("x-phase") !== progress.dataset.phase) return location.reload();
    const received = document.createElement("div");
    received.innerHTML = await response.text();
    for (const name of ["status", "countdown"]) {
      const [shown, current] = [part(progress, name), part(received, name)];
      if (shown.innerHTML !== current.innerHTML) shown.innerHTML = current.innerHTML;
    }
  } catch {
    // The appliance may be restarting: try again.
  }
  setTimeout(refresh, 1500);
}
setTimeout(refresh, 500);

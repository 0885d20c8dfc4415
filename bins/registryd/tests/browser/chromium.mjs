// Opens Chromium, and checks pages with axe, light and dark. Saves screenshots if SHOTS names a folder.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { BROWSER_MODULES, CHROMIUM, SHOTS } = process.env;
const require = createRequire(join(BROWSER_MODULES, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** Returns a browser, a page, and `check(name, page)`, which checks the page in two sizes. axe runs although the page's policy forbids scripts. */
export async function open(kind, script) {
  const quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...quiet] });
  const context = await browser.newContext({ javaScriptEnabled: script, bypassCSP: script, viewport: { width: 1024, height: 800 } });
  const page = await context.newPage();

  async function check(name, at = page) {
    for (const colorScheme of ["dark", "light"]) {
      await at.emulateMedia({ colorScheme });
      for (const [size, width, height] of [["phone", 390, 844], ["desktop", 1024, 800]]) {
        await at.setViewportSize({ width, height });
        const wide = await at.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
        assert.ok(!wide, `${name}, ${size}: the page scrolls horizontally`);
        if (script) {
          await at.evaluate(axe);
          const { violations } = await at.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
          assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`), [], `${name}, ${size}, ${colorScheme}`);
        }
        if (SHOTS) await at.screenshot({ path: join(SHOTS, `${kind}-${name}-${size}-${colorScheme}.png`), fullPage: true });
      }
    }
  }
  return { browser, page, check };
}

// A real Chromium, and how a page is looked at: with axe, light and dark; and pictures, where they are wanted.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { BROWSER_MODULES, CHROMIUM, SHOTS } = process.env;
const require = createRequire(join(BROWSER_MODULES, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** A browser, a page of it, and `look(name)`. axe runs where the page's own scripts would not. */
export async function open(kind, script) {
  const quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...quiet] });
  const context = await browser.newContext({ javaScriptEnabled: script, bypassCSP: script, viewport: { width: 1024, height: 800 } });
  const page = await context.newPage();

  async function look(name) {
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme });
      if (script) {
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
        assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`), [], `${name}, ${colorScheme}`);
      }
      if (!SHOTS) continue;
      for (const [size, width, height] of [["phone", 390, 844], ["desktop", 1024, 800]]) {
        await page.setViewportSize({ width, height });
        await page.screenshot({ path: join(SHOTS, `${kind}-${name}-${size}-${colorScheme}.png`), fullPage: true });
      }
    }
  }
  return { browser, page, look };
}

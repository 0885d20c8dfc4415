// An installer who uses the first-boot page in Chromium. With the option `mistakes` the installer
// makes every mistake first.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const { BROWSER_MODULES, CHROMIUM, SHOTS } = process.env;
assert(BROWSER_MODULES && CHROMIUM, "CHROMIUM or BROWSER_MODULES is not set: run `cargo xtask test`");
const { chromium } = createRequire(join(BROWSER_MODULES, "package.json"))("playwright-core");
const { url, token, code, password, script, mistakes } = JSON.parse(process.argv[2]);

const quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...quiet] });
const context = await browser.newContext({ javaScriptEnabled: script, viewport: { width: 1024, height: 800 } });
const page = await context.newPage();
const errors = [];
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("pageerror", (error) => errors.push(String(error)));

/** Takes screenshots of the page for desktop and phone, if the variable SHOTS names a folder. */
async function takeScreenshots(name) {
  if (!SHOTS) return;
  for (const [kind, width, height] of [["phone", 390, 844], ["desktop", 1024, 800]]) {
    await page.setViewportSize({ width, height });
    await page.screenshot({ path: join(SHOTS, `first-boot-${name}-${kind}.png`), fullPage: true });
  }
}

const install = () => page.getByRole("button", { name: "Install" }).click();
const typePassword = async (text, again = text) => {
  await page.getByLabel("Password", { exact: true }).fill(text);
  await page.getByLabel("Confirm password").fill(again);
};

await page.goto(url);
if (mistakes) {
  await takeScreenshots("token");
  await page.getByLabel("Setup token").fill("AAAA-AAAA-AAAA");
  await page.keyboard.press("Enter");
  await page.getByText("This is not the token").waitFor();
}
await page.getByLabel("Setup token").fill(token);
await page.keyboard.press("Enter");
await page.getByRole("heading", { name: "Your details" }).waitFor();

if (mistakes) {
  await takeScreenshots("empty");
  await install();
  const summary = page.getByRole("alert");
  assert.equal(await summary.getByRole("link").count(), 6, "each mistake is listed");
  await takeScreenshots("error");
  await summary.getByRole("link", { name: "Enter the email address." }).click();
  assert.equal(await page.evaluate(() => document.activeElement.id), "email", "a link leads to its field");
  assert.equal(await page.getByLabel("Email").getAttribute("aria-invalid"), "true");
}

// The form can be filled in with the keyboard alone.
await page.getByRole("textbox", { name: "Install code" }).focus();
const typed = [mistakes ? "AAAA-AAAA-AAAA" : code, "Acme Ltd", "Ada", "Lovelace", "ada@acme.example", password, password];
for (const text of typed) {
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
  await page.keyboard.press("Tab");
}
if (mistakes) {
  await page.getByRole("button", { name: "Test the network" }).click();
  await page.getByText("can be reached").waitFor();
  assert.equal(await page.getByLabel("Email").inputValue(), "ada@acme.example", "the network test keeps the values");
  await typePassword("password1234");
  await install();
  await page.getByRole("link", { name: /too easy to guess/ }).waitFor();
  await typePassword(password, "something else");
  await install();
  await page.getByRole("link", { name: "The two passwords differ." }).waitFor();
  await typePassword(password);
  await install();
  await page.getByRole("link", { name: /^Invalid install code\. Check the code/ }).waitFor();
  await takeScreenshots("refused");
  // Only the wrong code has to be typed again.
  await page.getByRole("textbox", { name: "Install code" }).fill(` ${code.toLowerCase().replaceAll("-", " ")} `);
  await install();
} else {
  await page.keyboard.press("Enter");
}

await page.getByRole("heading", { name: "Installing" }).waitFor();
await page.getByText("Redeem the install code").waitFor();
await takeScreenshots("progress");
await page.getByRole("heading", { name: "Installed" }).waitFor({ timeout: 60_000 });
await takeScreenshots("done");
const tenant = await page.locator("dd code").first().innerText();
await browser.close();
// Chromium reports the expected responses to a wrong token (403), to a wrong form (422), and to a
// request for progress after the installation (409).
assert.deepEqual(errors.filter((text) => !/status of (403|409|422)/.test(text)), []);
console.log(JSON.stringify({ tenant }));

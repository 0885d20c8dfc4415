// An operator at the first-boot page, in a real Chromium: makes every mistake first, then installs.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const { BROWSER_MODULES, CHROMIUM, SHOTS } = process.env;
const { chromium } = createRequire(join(BROWSER_MODULES, "package.json"))("playwright-core");
const { url, token, code, password, script, mistakes } = JSON.parse(process.argv[2]);

const quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...quiet] });
const context = await browser.newContext({ javaScriptEnabled: script, viewport: { width: 1024, height: 800 } });
const page = await context.newPage();
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));

/** Pictures of the page, desktop and phone, where they are wanted. */
async function shoot(name) {
  if (!SHOTS) return;
  for (const [kind, width, height] of [["phone", 390, 844], ["desktop", 1024, 800]]) {
    await page.setViewportSize({ width, height });
    await page.screenshot({ path: join(SHOTS, `first-boot-${name}-${kind}.png`), fullPage: true });
  }
}

const install = () => page.getByRole("button", { name: "Install" }).click();
const typePassword = async (text, again = text) => {
  await page.getByLabel("Password", { exact: true }).fill(text);
  await page.getByLabel("Password again").fill(again);
};

await page.goto(url);
if (mistakes) {
  await shoot("token");
  await page.getByLabel("Setup token").fill("AAAA-AAAA-AAAA");
  await page.keyboard.press("Enter");
  await page.getByText("This is not the token").waitFor();
}
await page.getByLabel("Setup token").fill(token);
await page.keyboard.press("Enter");
await page.getByRole("heading", { name: "Your details" }).waitFor();

if (mistakes) {
  await shoot("empty");
  await install();
  const summary = page.getByRole("alert");
  assert.equal(await summary.getByRole("link").count(), 6, "each mistake is named");
  await shoot("error");
  await summary.getByRole("link", { name: "Enter the e-mail address." }).click();
  assert.equal(await page.evaluate(() => document.activeElement.id), "email", "a link leads to its field");
  assert.equal(await page.getByLabel("E-mail").getAttribute("aria-invalid"), "true");
}

// With the keyboard alone, from the first field to the button.
await page.getByRole("textbox", { name: "Install code" }).focus();
const typed = [mistakes ? "AAAA-AAAA-AAAA" : code, "Acme Ltd", "Ada", "Lovelace", "ada@acme.example", password, password];
for (const text of typed) {
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
  await page.keyboard.press("Tab");
}
if (mistakes) {
  await page.getByRole("button", { name: "Test the network" }).click();
  await page.getByText("answers as it should").waitFor();
  assert.equal(await page.getByLabel("E-mail").inputValue(), "ada@acme.example", "what was typed is kept");
  await typePassword("password1234");
  await install();
  await page.getByRole("link", { name: /too easy to guess/ }).waitFor();
  await typePassword(password, "something else");
  await install();
  await page.getByRole("link", { name: "The two passwords differ." }).waitFor();
  await typePassword(password);
  await install();
  await page.getByRole("link", { name: /^Invalid install code\. Check the code/ }).waitFor();
  await shoot("refused");
  // Only what was wrong is typed again.
  await page.getByRole("textbox", { name: "Install code" }).fill(` ${code.toLowerCase().replaceAll("-", " ")} `);
  await install();
} else {
  await page.keyboard.press("Enter");
}

await page.getByRole("heading", { name: "Installing" }).waitFor();
await page.getByText("Redeem the install code").waitFor();
await shoot("progress");
await page.getByRole("heading", { name: "Installed" }).waitFor({ timeout: 60_000 });
await shoot("done");
const tenant = await page.locator("dd code").first().innerText();
await browser.close();
// A wrong token and a wrong form are answered with 403 and 422, which Chromium notes.
assert.deepEqual(complaints.filter((text) => !/status of (403|409|422)/.test(text)), []);
console.log(JSON.stringify({ tenant }));

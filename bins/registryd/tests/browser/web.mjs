// A customer at the door, in a real Chromium: registers, signs in by mail, gets a fresh code, signs out.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { open } from "./looking.mjs";

const { url, mailbox, script } = JSON.parse(process.argv[2]);
const { browser, page, look } = await open("door", script);

/** The text of the newest mail, once so many have come. */
async function mail(count) {
  for (let tries = 0; tries < 200; tries++) {
    const files = readdirSync(mailbox).filter((file) => file.endsWith(".eml")).sort();
    if (files.length >= count) {
      const raw = readFileSync(join(mailbox, files.at(-1)), "utf8");
      return raw.replace(/=\r?\n/g, "").replaceAll("=3D", "=");
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`mail ${count} does not come`);
}

const code = (text) => text.match(/^\s*([A-Z2-9]{4}-[A-Z2-9]{4}-[A-Z2-9]{4})\s*$/m)[1];
const link = (text) => text.match(/https?:\/\/\S+\/portal\/sign-in\/[0-9a-f]{64}/)[0];

await page.goto(url);
await page.getByRole("heading", { name: "Register" }).waitFor();
await look("signup");
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("alert").getByRole("link").first().waitFor();
assert.deepEqual(await page.getByRole("alert").getByRole("link").allInnerTexts(), ["Company name: Fill this in.", "E-mail: Fill this in."]);
await page.getByLabel("Company name").fill("Acme & <b>Söhne</b>");
await page.getByLabel("E-mail").fill("ada@");
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("link", { name: /not an e-mail address/ }).waitFor();
assert.equal(await page.getByLabel("Company name").inputValue(), "Acme & <b>Söhne</b>", "nothing is lost");
await look("signup-error");
await page.getByLabel("E-mail").fill("ada@mail.spam.example");
await page.getByLabel("Company name").fill("Acme at https://evil.example");
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("link", { name: /Addresses of this domain/ }).waitFor();
await page.getByRole("link", { name: /without a link/ }).waitFor();
await look("signup-refused");
await page.getByLabel("Company name").fill("x".repeat(201));
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("link", { name: /too long/ }).waitFor();
await page.getByLabel("Company name").fill("Acme & <b>Söhne</b>");
await page.getByLabel("E-mail").fill("Ada@Acme.example");
const sentForm = await page.locator("[name=form]").inputValue();
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("heading", { name: "Look into your inbox" }).waitFor();
await look("done");
const first = code(await mail(1));
assert.ok(!(await page.content()).includes(first), "the code goes by mail only");
// The same form once more, with something else in it: nothing is lost, and it is said why.
await page.goto(`${url}signup`);
await page.evaluate((form) => { document.querySelector("[name=form]").value = form; }, sentForm);
await page.getByLabel("Company name").fill("Bolt");
await page.getByLabel("E-mail").fill("bob@bolt.example");
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("link", { name: /was sent before/ }).waitFor();
assert.equal(await page.getByLabel("Company name").inputValue(), "Bolt");

// An unknown address is answered as a known one is, and gets nothing.
for (const address of ["nobody@acme.example", "ada@acme.example"]) {
  await page.getByRole("navigation").getByRole("link", { name: "Portal" }).click();
  if (address.startsWith("nobody")) {
    await page.getByLabel("E-mail").fill("nobody");
    await page.getByRole("button", { name: "Mail me a link" }).click();
    await page.getByRole("alert").waitFor();
    await look("sign-in-error");
  }
  await page.getByLabel("E-mail").fill(address);
  if (address.startsWith("nobody")) await look("sign-in");
  await page.getByRole("button", { name: "Mail me a link" }).click();
  await page.getByText(`If ${address} is registered`).waitFor();
}
await look("sent");
const signIn = link(await mail(2));
// Scanners follow it first.
for (let times = 0; times < 2; times++) await page.goto(signIn);
await look("link");
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("heading", { name: "Your appliances" }).waitFor();
await page.getByText("Acme & <b>Söhne</b>").waitFor();
await page.getByText("Signed in as ada@acme.example").waitFor();
await page.getByRole("rowheader", { name: "appliance-1" }).waitFor();
await page.getByText("Version 2.5.0").waitFor();
await look("portal");
await page.getByRole("link", { name: "Get a fresh install code" }).first().click();
await look("reissue");
const forget = () => page.evaluate(() => { document.querySelector("main form [name=csrf]").value = "0".repeat(64); });
await forget();
await page.getByRole("button", { name: "Mail me a fresh code" }).click();
await page.getByRole("heading", { name: "Once more, please" }).waitFor();
await look("stale");
await page.getByRole("link", { name: "Open it again" }).click();
await page.getByRole("button", { name: "Mail me a fresh code" }).click();
await page.getByText("A fresh code is on its way").waitFor();
await look("reissued");
const second = code(await mail(3));
assert.notEqual(second, first);

// Another browser with the same link, and this one after it signed out.
const other = await (await browser.newContext()).newPage();
await other.goto(signIn);
await other.getByRole("button", { name: "Sign in" }).click();
await other.getByRole("heading", { name: "This link is over" }).waitFor();
await page.goto(`${url}portal/nothing`);
await page.getByRole("heading", { name: "There is nothing here" }).waitFor();
await look("nothing");
await page.getByRole("main").getByRole("link", { name: "Portal" }).click();
await page.getByRole("button", { name: "Sign out everywhere" }).click();
await page.getByRole("heading", { name: "Sign in" }).waitFor();
await page.goto(`${url}portal`);
await page.getByRole("heading", { name: "Sign in" }).waitFor();

await page.goto(signIn);
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("heading", { name: "This link is over" }).waitFor();
await look("link-over");
await page.getByRole("link", { name: "Ask for a new link" }).click();
// Who asks too often waits.
for (let asked = 0; asked < 30; asked++) {
  await page.getByLabel("E-mail").fill("ada@acme.example");
  await page.getByRole("button", { name: "Mail me a link" }).click();
  if (await page.getByRole("heading", { name: "A little later" }).isVisible()) break;
  await page.goBack();
}
await page.getByText("Try again in").waitFor();
await look("too-often");

// In the reader's language.
const german = await (await browser.newContext({ locale: "de-CH", javaScriptEnabled: script, bypassCSP: script })).newPage();
await german.goto(url);
await german.getByRole("heading", { name: "Registrieren" }).waitFor();
assert.equal(await german.locator("html").getAttribute("lang"), "de");
await german.getByRole("button", { name: "Registrieren" }).click();
await german.getByRole("heading", { name: "Bitte berichtigen" }).waitFor();
await look("german", german);
await german.goto(`${url}portal/nothing`);
await german.getByRole("heading", { name: "Hier ist nichts" }).waitFor();
await browser.close();
console.log(JSON.stringify({ first, second }));

// A customer in Chromium: registers, signs in by mail, requests a new install code, signs out.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { open } from "./chromium.mjs";

const { url, mailbox, script } = JSON.parse(process.argv[2]);
const { browser, page, check } = await open("web", script);

/** Waits for `count` mails, and returns the text of the newest. */
async function mail(count) {
  for (let attempt = 0; attempt < 200; attempt++) {
    const files = readdirSync(mailbox).filter((file) => file.endsWith(".eml")).sort();
    if (files.length >= count) {
      const raw = readFileSync(join(mailbox, files.at(-1)), "utf8");
      return raw.replace(/=\r?\n/g, "").replaceAll("=3D", "=");
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`mail ${count} did not arrive`);
}

const code = (text) => text.match(/^\s*([A-Z2-9]{4}-[A-Z2-9]{4}-[A-Z2-9]{4})\s*$/m)[1];
const link = (text) => text.match(/https?:\/\/\S+\/portal\/sign-in\/[0-9a-f]{64}/)[0];

await page.goto(url);
await page.getByRole("heading", { name: "Register" }).waitFor();
await check("signup");
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("alert").getByRole("link").first().waitFor();
assert.deepEqual(await page.getByRole("alert").getByRole("link").allInnerTexts(), ["Company name: This field is required.", "Email address: This field is required."]);
await page.getByLabel("Company name").fill("Acme & <b>Söhne</b>");
await page.getByLabel("Email address").fill("ada@");
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("link", { name: /valid email address/ }).waitFor();
assert.equal(await page.getByLabel("Company name").inputValue(), "Acme & <b>Söhne</b>", "the entries stay");
await check("signup-error");
await page.getByLabel("Email address").fill("ada@mail.spam.example");
await page.getByLabel("Company name").fill("Acme at https://evil.example");
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("link", { name: /addresses at this domain/ }).waitFor();
await page.getByRole("link", { name: /a name without links/ }).waitFor();
await check("signup-refused");
await page.getByLabel("Company name").fill("x".repeat(201));
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("link", { name: /too long/ }).waitFor();
await page.getByLabel("Company name").fill("Acme & <b>Söhne</b>");
await page.getByLabel("Email address").fill("Ada@Acme.example");
const sentForm = await page.locator("[name=form]").inputValue();
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("heading", { name: "Check your inbox" }).waitFor();
await check("signup-sent");
const first = code(await mail(1));
assert.ok(!(await page.content()).includes(first), "the code goes by mail only");
// The same form with other entries is refused. The page says why, and keeps the entries.
await page.goto(`${url}signup`);
await page.evaluate((form) => { document.querySelector("[name=form]").value = form; }, sentForm);
await page.getByLabel("Company name").fill("Bolt");
await page.getByLabel("Email address").fill("bob@bolt.example");
await page.getByRole("button", { name: "Register" }).click();
await page.getByRole("link", { name: /already sent with different details/ }).waitFor();
assert.equal(await page.getByLabel("Company name").inputValue(), "Bolt");

// Known and unknown addresses get the same response; only known ones get a mail.
for (const address of ["nobody@acme.example", "ada@acme.example"]) {
  await page.getByRole("navigation").getByRole("link", { name: "Portal" }).click();
  if (address.startsWith("nobody")) {
    await page.getByLabel("Email address").fill("nobody");
    await page.getByRole("button", { name: "Send sign-in link" }).click();
    await page.getByRole("alert").waitFor();
    await check("sign-in-error");
  }
  await page.getByLabel("Email address").fill(address);
  if (address.startsWith("nobody")) await check("sign-in");
  await page.getByRole("button", { name: "Send sign-in link" }).click();
  await page.getByText(`If ${address} is registered`).waitFor();
}
await check("sent");
const signIn = link(await mail(2));
// Mail scanners open links before people do.
for (let opened = 0; opened < 2; opened++) await page.goto(signIn);
await check("link");
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("heading", { name: "Your appliances" }).waitFor();
await page.getByText("Acme & <b>Söhne</b>").waitFor();
await page.getByText("Signed in as ada@acme.example").waitFor();
await page.getByRole("rowheader", { name: "appliance-1" }).waitFor();
await page.getByText("Version 2.5.0").waitFor();
await check("portal");
await page.getByRole("link", { name: "Request a new install code" }).first().click();
await check("reissue");
const forge = () => page.evaluate(() => { document.querySelector("main form [name=csrf]").value = "0".repeat(64); });
await forge();
await page.getByRole("button", { name: "Send new install code" }).click();
await page.getByRole("heading", { name: "This form has expired" }).waitFor();
await check("form-expired");
await page.getByRole("link", { name: "Open the form again" }).click();
await page.getByRole("button", { name: "Send new install code" }).click();
await page.getByText("A new install code is on its way").waitFor();
await check("reissued");
const second = code(await mail(3));
assert.notEqual(second, first);

// The link does not work again, in another browser or in this one.
const other = await (await browser.newContext()).newPage();
await other.goto(signIn);
await other.getByRole("button", { name: "Sign in" }).click();
await other.getByRole("heading", { name: "This link is no longer valid" }).waitFor();
await page.goto(`${url}portal/nothing`);
await page.getByRole("heading", { name: "Page not found" }).waitFor();
await check("not-found");
await page.getByRole("main").getByRole("link", { name: "Portal" }).click();
await page.getByRole("button", { name: "Sign out on all devices" }).click();
await page.getByRole("heading", { name: "Sign in" }).waitFor();
await page.goto(`${url}portal`);
await page.getByRole("heading", { name: "Sign in" }).waitFor();

await page.goto(signIn);
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("heading", { name: "This link is no longer valid" }).waitFor();
await check("link-invalid");
await page.getByRole("link", { name: "Request a new link" }).click();
// Further requests are rate limited.
for (let request = 0; request < 30; request++) {
  await page.getByLabel("Email address").fill("ada@acme.example");
  await page.getByRole("button", { name: "Send sign-in link" }).click();
  if (await page.getByRole("heading", { name: "Too many requests" }).isVisible()) break;
  await page.goBack();
}
await page.getByText("Try again in").waitFor();
await check("rate-limited");

// In the reader's language.
const german = await (await browser.newContext({ locale: "de-CH", javaScriptEnabled: script, bypassCSP: script })).newPage();
await german.goto(url);
await german.getByRole("heading", { name: "Registrieren" }).waitFor();
assert.equal(await german.locator("html").getAttribute("lang"), "de");
await german.getByRole("button", { name: "Registrieren" }).click();
await german.getByRole("heading", { name: "Bitte korrigieren Sie" }).waitFor();
await check("german", german);
await german.goto(`${url}portal/nothing`);
await german.getByRole("heading", { name: "Seite nicht gefunden" }).waitFor();
await browser.close();
console.log(JSON.stringify({ first, second }));

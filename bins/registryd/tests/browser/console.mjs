// An operator at the console, in a real Chromium: signs in by token, looks around, re-issues a code, sends a mail again.
import assert from "node:assert/strict";
import { open } from "./looking.mjs";

const { url, token, script } = JSON.parse(process.argv[2]);
const { browser, page, look } = await open("console", script);

await page.goto(`${url}console`);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
await page.getByLabel("Operator token").fill("0".repeat(64));
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("alert").waitFor();
await look("sign-in");
await page.getByLabel("Operator token").fill(token);
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("heading", { name: "Tenants" }).waitFor();
await page.getByText("Signed in as operator:ann").waitFor();
assert.equal(await page.getByRole("row").count(), 51, "a page of tenants, and their headings");
await look("tenants");
await page.getByRole("button", { name: "Older" }).click();
await page.getByRole("link", { name: "<b>Acme</b> & Söhne" }).waitFor();
await page.getByLabel("Company or e-mail").fill("söhne");
await page.getByLabel("Status").selectOption("in use");
await page.getByRole("button", { name: "Search" }).click();
await page.getByText("There is nothing.").waitFor();
await page.getByLabel("Status").selectOption("");
await page.getByRole("button", { name: "Search" }).click();
assert.equal(await page.getByRole("row").count(), 2);

await page.getByRole("link", { name: "<b>Acme</b> & Söhne" }).click();
await page.getByRole("heading", { name: "<b>Acme</b> & Söhne" }).waitFor();
for (const what of ["Registered", "Install code redeemed", "Redemption refused", "Mail, install code: sent"]) await page.getByRole("cell", { name: what, exact: true }).waitFor();
await look("tenant");
await page.getByRole("link", { name: "Mint a fresh install code" }).click();
await page.getByText("Older unused codes stop working").waitFor();
await look("confirm");
await page.evaluate(() => { document.querySelector("main form.card [name=csrf]").value = "0".repeat(64); });
await page.getByRole("button", { name: "Mint a fresh install code" }).click();
await page.getByRole("heading", { name: "Once more, please" }).waitFor();
await look("stale");
await page.getByRole("link", { name: "Open it again" }).click();
await page.getByRole("button", { name: "Mint a fresh install code" }).click();
await page.getByText("Done.").waitFor();
const reissued = page.getByRole("row").filter({ hasText: "Install code re-issued" });
assert.match(await reissued.innerText(), /operator:ann/);

for (const [link, heading] of [["Silent appliances", "Silent appliances"], ["Releases", "Releases"], ["Audit", "Audit"], ["Mails", "Mails"]]) {
  await page.getByRole("navigation").getByRole("link", { name: link }).click();
  await page.getByRole("heading", { name: heading }).waitFor();
  await look(link.toLowerCase().split(" ")[0]);
}
await page.getByRole("cell", { name: "fresh install code", exact: true }).waitFor();
await page.getByLabel("Status").selectOption("waits to be sent");
await page.getByRole("button", { name: "Search" }).click();
await page.getByRole("row").filter({ hasText: "stuck@example.com" }).getByRole("link", { name: "Send again" }).click();
await page.getByRole("heading", { name: "Send again" }).waitFor();
await look("send-again");
await page.getByRole("button", { name: "Send again" }).click();
await page.getByText("The mail is sent again now").waitFor();
await look("sent-again");
await page.getByLabel("Status").selectOption("sent");
await page.getByRole("button", { name: "Search" }).click();
await page.getByRole("heading", { name: "Mails" }).waitFor();
await page.getByRole("cell", { name: "install code", exact: true }).first().waitFor();

// What there is not.
await page.goto(`${url}console/tenants/01900000-0000-7000-8000-000000000000`);
await page.getByRole("heading", { name: "That did not work" }).waitFor();
await page.getByText("There is no such tenant").waitFor();
assert.notEqual(await page.evaluate(() => getComputedStyle(document.querySelector("main")).maxWidth), "none", "it has its style");
await look("nothing");
for (const [path, heading] of [["console?status=lost", "That did not work"], ["console/lost", "There is nothing here"], ["console/tenants/lost", "There is nothing here"]]) {
  await page.goto(`${url}${path}`);
  await page.getByRole("heading", { name: heading }).waitFor();
}
await page.getByRole("main").getByRole("link", { name: "Console" }).click();
await page.getByRole("button", { name: "Sign out" }).click();
await page.getByRole("heading", { name: "Sign in" }).waitFor();
await page.goto(`${url}console/mails`);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
// Who guesses tokens waits.
await page.goto(`${url}console/sign-in`);
for (let guessed = 0; guessed < 40; guessed++) {
  await page.getByLabel("Operator token").fill("guess");
  await page.getByRole("button", { name: "Sign in" }).click();
  if (await page.getByRole("heading", { name: "A little later" }).isVisible()) break;
}
await page.getByText("Try again in").waitFor();
await look("too-often");
// In German, where words are longer.
const german = await browser.newContext({ locale: "de", javaScriptEnabled: script, bypassCSP: script });
const seite = await german.newPage();
await seite.goto(`${url}console/sign-in`);
await seite.getByLabel("Operator-Token").fill(token);
await seite.getByRole("button", { name: "Anmelden" }).click();
await seite.getByRole("heading", { name: "Mandanten" }).waitFor();
await look("german", seite);
await browser.close();

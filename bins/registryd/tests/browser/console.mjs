// An operator in Chromium: signs in by token, browses the console, sends a new install code, resends a mail.
import assert from "node:assert/strict";
import { open } from "./chromium.mjs";

const { url, token, script } = JSON.parse(process.argv[2]);
const { browser, page, check } = await open("console", script);

await page.goto(`${url}console`);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
await page.getByLabel("Operator token").fill("0".repeat(64));
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("alert").waitFor();
await check("sign-in");
await page.getByLabel("Operator token").fill(token);
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("heading", { name: "Tenants" }).waitFor();
await page.getByText("Signed in as operator:ann").waitFor();
assert.equal(await page.getByRole("row").count(), 51, "a page of tenants, and the headings");
await check("tenants");
await page.getByRole("button", { name: "Next page" }).click();
await page.getByRole("link", { name: "<b>Acme</b> & Söhne" }).waitFor();
await page.getByLabel("Company or email").fill("söhne");
await page.getByLabel("Status").selectOption("Active");
await page.getByRole("button", { name: "Search" }).click();
await page.getByText("No results.").waitFor();
await page.getByLabel("Status").selectOption("");
await page.getByRole("button", { name: "Search" }).click();
assert.equal(await page.getByRole("row").count(), 2);

await page.getByRole("link", { name: "<b>Acme</b> & Söhne" }).click();
await page.getByRole("heading", { name: "<b>Acme</b> & Söhne" }).waitFor();
for (const event of ["Tenant registered", "Code redeemed", "Redemption refused", "Install code email: Sent"]) await page.getByRole("cell", { name: event, exact: true }).waitFor();
await check("tenant");
await page.getByRole("link", { name: "Send a new install code" }).click();
await page.getByText("Earlier unused codes stop working").waitFor();
await check("confirm");
await page.evaluate(() => { document.querySelector("main form.card [name=csrf]").value = "0".repeat(64); });
await page.getByRole("button", { name: "Send a new install code" }).click();
await page.getByRole("heading", { name: "This form has expired" }).waitFor();
await check("form-expired");
await page.getByRole("link", { name: "Open the form again" }).click();
await page.getByRole("button", { name: "Send a new install code" }).click();
await page.getByText("A new install code is on its way").waitFor();
const reissued = page.getByRole("row").filter({ hasText: "Install code re-issued" });
assert.match(await reissued.innerText(), /operator:ann/);

for (const [link, heading] of [["Appliances not checking in", "Appliances not checking in"], ["Releases", "Releases"], ["Audit log", "Audit log"], ["Emails", "Emails"]]) {
  await page.getByRole("navigation").getByRole("link", { name: link }).click();
  await page.getByRole("heading", { name: heading }).waitFor();
  await check(link.toLowerCase().split(" ")[0]);
}
await page.getByRole("cell", { name: "New install code", exact: true }).waitFor();
await page.getByLabel("Status").selectOption("Queued");
await page.getByRole("button", { name: "Search" }).click();
await page.getByRole("row").filter({ hasText: "stuck@example.com" }).getByRole("link", { name: "Resend" }).click();
await page.getByRole("heading", { name: "Resend" }).waitFor();
await check("resend");
await page.getByRole("button", { name: "Resend" }).click();
await page.getByText("The email is being resent").waitFor();
await check("resent");
await page.getByLabel("Status").selectOption("Sent");
await page.getByRole("button", { name: "Search" }).click();
await page.getByRole("heading", { name: "Emails" }).waitFor();
await page.getByRole("cell", { name: "Install code", exact: true }).first().waitFor();

// Pages and tenants that do not exist.
await page.goto(`${url}console/tenants/01900000-0000-7000-8000-000000000000`);
await page.getByRole("heading", { name: "Your request could not be completed" }).waitFor();
await page.getByText("No tenant has this ID").waitFor();
assert.notEqual(await page.evaluate(() => getComputedStyle(document.querySelector("main")).maxWidth), "none", "the page is styled");
await check("refused");
for (const [path, heading] of [["console?status=lost", "Your request could not be completed"], ["console/lost", "Page not found"], ["console/tenants/lost", "Page not found"]]) {
  await page.goto(`${url}${path}`);
  await page.getByRole("heading", { name: heading }).waitFor();
}
await page.getByRole("main").getByRole("link", { name: "Console" }).click();
await page.getByRole("button", { name: "Sign out" }).click();
await page.getByRole("heading", { name: "Sign in" }).waitFor();
await page.goto(`${url}console/mails`);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
// Wrong tokens are rate limited.
await page.goto(`${url}console/sign-in`);
for (let attempt = 0; attempt < 40; attempt++) {
  await page.getByLabel("Operator token").fill("wrong-token");
  await page.getByRole("button", { name: "Sign in" }).click();
  if (await page.getByRole("heading", { name: "Too many requests" }).isVisible()) break;
}
await page.getByText("Try again in").waitFor();
await check("rate-limited");
// In German, whose words are longer.
const german = await browser.newContext({ locale: "de", javaScriptEnabled: script, bypassCSP: script });
const seite = await german.newPage();
await seite.goto(`${url}console/sign-in`);
await seite.getByLabel("Operator-Token").fill(token);
await seite.getByRole("button", { name: "Anmelden" }).click();
await seite.getByRole("heading", { name: "Mandanten" }).waitFor();
await check("german", seite);
await browser.close();

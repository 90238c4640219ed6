// Flags that the store has lost, and edits that it rejects: said in plain words, with the way back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, NESTED, accessible, api, as, dialog, fits, flag, press, pressIn, save, shop, stored, until } from "./support.js";

const lose = (prefix) => fetch(`${NESTED}/lose/${prefix}`, { method: "POST" });
const fate = (what) => fetch(`${NESTED}/store/${what}`, { method: "POST" });
const missing = async () => (await api("GET", "status")).body.missing.flags;

test("a lost flag is listed, and written back from its page", async () => {
  await flag("lost_one", { enabled: true, percentage: 100, owner: "payments" });
  const page = await as(ALICE);
  await lose("lost_one");
  await page.getByRole("heading", { name: "The store has lost a flag" }).waitFor();
  await page.locator("[data-flag=lost_one]").getByText("Lost by the store").waitFor();
  await accessible(page, "the list with a lost flag");
  await page.getByRole("link", { name: "lost_one" }).last().click();
  await page.getByRole("heading", { name: "Off: the store has lost it" }).waitFor();
  await page.getByText("No edit removed it.").first().waitFor();
  assert.equal(await page.getByRole("button", { name: "Remove flag…" }).count(), 0, "what needs the store cannot be pressed");
  await fits(page, "a lost flag");
  await page.locator(".power").getByRole("button", { name: "Write it back…" }).click();
  await dialog(page).getByText("It is on for everyone").waitFor();
  await dialog(page).getByLabel("Why?").fill("evicted");
  await save(page, "Write it back");
  await page.getByRole("heading", { name: "On for everyone" }).waitFor();
  assert.equal(await shop("lost_one"), true);
  const { body } = await api("GET", "flags/lost_one/history");
  assert.deepEqual([body.entries[0].actor, body.entries[0].reason], ["alice", "evicted"]);
});

test("a flag that is lost while its page is open is blamed on nobody", async () => {
  await flag("lost_open", { enabled: true, percentage: 100 });
  const page = await as(ALICE, "flags/lost_open");
  await lose("lost_open");
  await page.locator("#spoken").filter({ hasText: "The store has lost lost_open" }).waitFor({ state: "attached" });
  await page.getByRole("heading", { name: "Off: the store has lost it" }).waitFor();
  assert.equal(await page.getByText("has just changed this flag").count(), 0);
});

test("a lost flag is killed here, and in the store where that is confirmed", async () => {
  await flag("lost_kill", { enabled: true, percentage: 100 });
  await flag("lost_kill_here", { enabled: true, percentage: 100 });
  await lose("lost_kill");
  await until(async () => assert.ok((await missing()).includes("lost_kill_here")));
  const page = await as(ALICE, "flags/lost_kill");
  await page.locator(".power").getByRole("button", { name: "Kill…" }).click();
  await dialog(page).getByLabel(/Also write it to the store/).waitFor();
  await save(page, "Kill it now");
  assert.equal((await stored("lost_kill")).flag.enabled, false);
  await page.evaluate(() => {
    location.hash = "#/flags/lost_kill_here";
  });
  await page.getByRole("heading", { name: "Off: the store has lost it" }).waitFor();
  await page.locator(".power").getByRole("button", { name: "Kill…" }).click();
  await dialog(page).getByLabel(/Also write it to the store/).uncheck();
  await dialog(page).getByRole("button", { name: "Kill it now" }).click();
  await page.locator(".notice").getByText("The store has lost the flag, so the kill is not written to it.").waitFor();
  await page.getByRole("heading", { name: "Off in this process only" }).first().waitFor();
  await press(page, "Kill it in the store, too");
  await dialog(page).getByRole("button", { name: "Kill everywhere" }).click();
  await until(async () => assert.equal((await stored("lost_kill_here")).flag?.enabled, false));
});

test("all lost flags are written back at once", async () => {
  for (const number of [1, 2, 3]) await flag(`lost_all_${number}`, { enabled: number !== 2, percentage: 100 });
  const page = await as(ALICE);
  await lose("lost_all");
  const title = page.getByRole("heading", { name: /^The store has lost/ });
  await until(async () => assert.ok((await missing()).length >= 3));
  await title.waitFor();
  await press(page, "Write them back…");
  await dialog(page).getByText("A flag that is off stays off.").waitFor();
  await press(page, "Write back");
  await page.locator(".notice").getByText(/flags are written back/).waitFor();
  await title.waitFor({ state: "detached" });
  assert.deepEqual(await missing(), []);
  assert.deepEqual([await shop("lost_all_1"), await shop("lost_all_2")], [true, false]);
});

test("an edit that the store rejects says that nothing was changed, and whether that ends by itself", async () => {
  await flag("rejected", { enabled: true, percentage: 100 });
  const page = await as(ALICE, "flags/rejected", { mayFail: /status of 503/ });
  await fate("read-only");
  await press(page, "10\u202f%");
  await press(page, "Change to 10\u202f%…");
  await dialog(page).getByRole("button", { name: "Change to 10\u202f%", exact: true }).click();
  const alert = dialog(page).getByRole("alert");
  await alert.getByText("Nothing was changed, because the server is read-only.").waitFor();
  await alert.getByText("This does not go away by itself.").waitFor();
  await dialog(page).getByRole("button", { name: "Cancel" }).click();
  await pressIn(page, "On for everyone", "Kill…");
  await dialog(page).getByRole("button", { name: "Kill it now" }).click();
  await page.locator(".notice").getByText("this does not go away by itself").waitFor();
  await page.getByText("The store rejects the kill, and this does not go away by itself.").waitFor();
  await accessible(page, "a kill that the store rejects");
  await fate("up");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor({ timeout: 60_000 });
});

test("what a clock that runs ahead has written is not said to be in the future", async () => {
  const at = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString();
  await flag("skewed", { enabled: false, schedule: [{ at: at(-1), percentage: 5 }, { at: at(2), percentage: 100 }], paused_at: at(1) });
  const page = await as(ALICE, "flags/skewed");
  await press(page, "Restore…");
  await save(page, "Restore it");
  await page.locator(".notice").getByText("whose clock runs ahead").waitFor();
  await page.getByText("Its plan is paused.").waitFor();
});

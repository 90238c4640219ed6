// What those see who may not edit: whom a flag names, and the buttons that they may press.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, NESTED, RITA, VERA, accessible, api, as, flag, press, save, stored } from "./support.js";

const NAMED = { enabled: true, percentage: 10, allowed_users: ["mallory_1", "mallory_2", "mallory_3"] };
const EDITS = /Change…|Add…|Start a plan…|Edit|Remove|Revert|Apply|Write/;

const buttons = async (page) => (await page.getByRole("main").getByRole("button").allTextContents()).map((text) => text.trim());

test("viewers and responders see how many users a flag names", async () => {
  await flag("named", NAMED);
  await api("PATCH", "flags/named", { allowed_users: ["mallory_4"] });
  await api("PATCH", "flags/named", { allowed_users: NAMED.allowed_users });
  for (const token of [VERA, RITA]) {
    const page = await as(token, "flags/named");
    await page.getByRole("region", { name: "By name" }).getByText("3 users", { exact: true }).waitFor();
    await page.getByText("(only editors see their names)").waitFor();
    await page.locator(".timeline > li").first().getByText("3 users").waitFor();
    await press(page, "Ask");
    await page.getByText("Only editors see this answer").waitFor();
    await accessible(page, "a flag whose users are hidden");
    for (const details of await page.locator("details summary").all()) await details.click();
    assert.ok(!(await page.content()).includes("mallory"));
  }
  const page = await as(ALICE, "flags/named");
  await page.getByText("mallory_2").first().waitFor();
});

test("a responder kills and restores and finds no other button", async () => {
  await flag("paged", { enabled: true, percentage: 10, variants: { a: 50, b: 50 } });
  const page = await as(RITA, "flags/paged");
  await page.getByText("may kill and restore").waitFor();
  assert.deepEqual((await buttons(page)).filter((text) => EDITS.test(text)), []);
  await press(page, "Kill…");
  await save(page, "Kill it now");
  assert.equal((await stored("paged")).flag.enabled, false);
  assert.deepEqual((await buttons(page)).filter((text) => EDITS.test(text)), []);
  await press(page, "Restore…");
  await save(page, "Restore it");
  assert.equal((await stored("paged")).flag.enabled, true);
  const { body } = await api("GET", "flags/paged/history");
  assert.deepEqual(body.entries.slice(0, 2).map(({ actor }) => actor), ["rita", "rita"]);
  const list = await as(RITA);
  assert.equal(await list.getByRole("link", { name: "New flag" }).count(), 0);
});

test("a viewer finds neither", async () => {
  await flag("watched", { enabled: true, percentage: 10 });
  const page = await as(VERA, "flags/watched");
  await page.getByText("may look only").waitFor();
  assert.deepEqual((await buttons(page)).filter((text) => EDITS.test(text) || /Kill|Restore/.test(text)), []);
});

test("a token that expires is named", async () => {
  const page = await as(ALICE, "", { base: `${NESTED}/env` });
  const banner = page.getByRole("region", { name: "A token expires" });
  await banner.getByText("The token of old-robot has expired: it was good until 29 Feb 2020.").waitFor();
});

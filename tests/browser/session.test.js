// Sessions that end: what was begun is there after the next login.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN, ALICE, BOB, accessible, as, dialog, flag, picture, press, save, stored } from "./support.js";

/** Logs out as another tab would. */
const logOutElsewhere = (page) => page.evaluate(() => fetch("logout", { method: "POST", headers: { "content-type": "application/json" } }));
const over = (page) => page.getByRole("dialog", { name: "Your session has ended" });
const logInAgain = async (page, token = ALICE) => {
  await over(page).getByLabel("Your token").fill(token);
  await over(page).getByRole("button", { name: "Log in" }).click();
  await over(page).waitFor({ state: "detached" });
};
const options = { mayFail: /401/, base: `${ADMIN}/` };

test("a session that ends while a question is open takes nothing of what was typed", async () => {
  await flag("session_me", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/session_me", options);
  await page.getByRole("region", { name: "By name" }).getByRole("button", { name: "Change…" }).click();
  await dialog(page).getByLabel("Add users").fill("maria");
  await dialog(page).getByLabel("Why?").fill("she asked for it");
  await page.context().clearCookies();
  await press(page, "Save");
  await over(page).waitFor();
  await accessible(page, "session over");
  await picture(page, "light-session-over");
  await over(page).getByLabel("Your token").fill("nobody-has-this-0123456789abcdef");
  await over(page).getByRole("button", { name: "Log in" }).click();
  await over(page).getByText("Nobody has this token").waitFor();
  await logInAgain(page);
  await dialog(page).getByText("Your session had ended: log in, then try again.").waitFor();
  assert.equal(await dialog(page).getByLabel("Add users").inputValue(), "maria");
  await save(page);
  const { flag: now, version } = await stored("session_me");
  assert.deepEqual([now.allowed_users, version], [["maria"], 2], "saved once");
  await page.locator("blockquote").filter({ hasText: "she asked for it" }).waitFor();
});

test("a session that ends by itself asks for the login without being touched, and goes on where it was", async () => {
  await flag("session_idle", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/session_idle", options);
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByLabel("Share of users in percent").fill("20");
  await logOutElsewhere(page);
  await over(page).waitFor();
  await logInAgain(page);
  await page.getByText("Live", { exact: true }).waitFor();
  assert.equal(await page.getByLabel("Share of users in percent").inputValue(), "20");
  await press(page, "Change to 20\u202f%…");
  await save(page, "Change to 20\u202f%");
});

test("what somebody began is not handed to whoever logs in next", async () => {
  await flag("session_other", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/session_other", options);
  await press(page, "Kill…");
  await dialog(page).getByLabel("Why?").fill("of alice");
  await logOutElsewhere(page);
  await over(page).waitFor();
  await logInAgain(page, BOB);
  await page.getByText("bob", { exact: true }).first().waitFor();
  await dialog(page).waitFor({ state: "detached" });
  await page.getByRole("heading", { name: "On for 10\u202f% of users" }).waitFor();
});

test("whoever does not log in again leaves nothing on the page", async () => {
  const page = await as(ALICE, "flags/new_search", options);
  await page.getByRole("heading", { name: "new_search", level: 1 }).waitFor();
  await logOutElsewhere(page);
  await over(page).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("heading", { name: "Flags", level: 1 }).waitFor();
  assert.equal(await page.getByText("new_search").count(), 0);
});

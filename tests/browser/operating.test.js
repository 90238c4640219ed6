// What people come for: find, release, watch, switch off, go back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN, ALICE, NESTED, ROOT, VERA, api, as, dialog, fits, flag, logIn, open, press, pressIn, save, shop, stored, until } from "./support.js";

const state = (page) => page.locator(".flag-head .pill").first();

test("in under three minutes: find a flag, release it to 10 %, see two users differ, kill it", async () => {
  await flag("three_minutes", { enabled: true, percentage: 0, description: "Pays in one step" });
  const from = Date.now();
  const page = await open(`${ADMIN}/`);
  await logIn(page);
  await page.getByLabel("Search").fill("one step");
  await page.getByRole("link", { name: "three_minutes" }).click();
  await page.getByRole("heading", { name: "Switched on, but nobody gets it yet" }).waitFor();
  await press(page, "10\u202f%");
  await press(page, "Change to 10\u202f%…");
  await save(page, "Change to 10\u202f%");
  await page.getByRole("heading", { name: "On for 10\u202f% of users" }).waitFor();

  const whoGets = {};
  for (let number = 0; !(whoGets.On && whoGets.Off); number += 1) {
    assert.ok(number < 100, "of a hundred users, some get it and some do not");
    await page.getByLabel("User id").fill(`user-${number}`);
    await press(page, "Ask");
    await page.locator(".verdict").getByText(`user-${number}`, { exact: true }).waitFor();
    whoGets[await page.locator(".verdict b").innerText()] ??= `user-${number}`;
  }
  assert.equal(await shop("three_minutes", whoGets.On), true);
  assert.equal(await shop("three_minutes", whoGets.Off), false);

  await press(page, "Kill…");
  await press(page, "Kill it now");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
  assert.equal(await shop("three_minutes", whoGets.On), false, "gone on the next request");
  assert.ok(Date.now() - from < 180_000);
});

for (const [where, url] of [["/", `${ROOT}/`], ["/admin", `${NESTED}/admin`], ["/admin/", `${NESTED}/admin/`], ["/a/b", `${NESTED}/a/b`], ["/a/b/", `${NESTED}/a/b/`]]) {
  test(`the page works where it is nested: ${where}`, async () => {
    // Whatever is still asked for when somebody logs out is refused.
    const page = await open(url, { mayFail: /status of 401/ });
    await page.getByLabel("Your token").fill("nobody-has-this-0123456789abcdef");
    await press(page, "Log in");
    await page.getByText("Nobody has this token").waitFor();
    await logIn(page);
    await page.getByRole("link", { name: "dark_mode" }).click();
    await page.getByRole("heading", { name: "On for everyone" }).waitFor();
    await page.getByText("Live", { exact: true }).waitFor();
    await page.reload();
    await page.getByRole("heading", { name: "On for everyone" }).waitFor();
    const cookies = await page.context().cookies();
    assert.deepEqual(cookies.map(({ httpOnly, sameSite }) => [httpOnly, sameSite]), [[true, "Strict"]]);
    await press(page, "Log out");
    await page.getByLabel("Your token").waitFor();
    await page.reload();
    await page.getByLabel("Your token").waitFor();
    assert.equal(await page.getByText("dark_mode").count(), 0);
  });
}

test("flags are found by words, filtered and sorted", async () => {
  const page = await as(ALICE);
  const names = () => page.locator("tbody tr").evaluateAll((rows) => rows.map((row) => row.dataset.flag));
  await page.getByLabel("Search").fill("spring sale");
  assert.deepEqual(await names(), ["old_banner"]);
  await page.getByText(/^1 of \d+ flags/).waitFor();
  await page.getByLabel("Search").fill("");
  await page.getByLabel("Owner").selectOption("growth");
  assert.ok((await names()).includes("pricing_page") && !(await names()).includes("new_search"));
  await page.getByLabel("Owner").selectOption("");
  await page.getByRole("button", { name: /^Killed/ }).click();
  assert.ok((await names()).includes("fraud_check") && !(await names()).includes("dark_mode"));
  await page.getByRole("button", { name: /^All/ }).click();
  await page.getByRole("button", { name: "Share" }).click();
  await page.getByRole("button", { name: "Share" }).click();
  assert.equal(await page.getByRole("columnheader", { name: "Share" }).getAttribute("aria-sort"), "descending");
  const first = await names();
  assert.ok(first.indexOf("dark_mode") < first.indexOf("new_search"));
  await page.getByLabel("Search").fill("no such thing");
  await press(page, "Show all flags");
  assert.ok((await names()).length > 5);
  await page.getByRole("row", { name: /old_banner/ }).getByText("Expired").waitFor();
  await page.getByRole("row", { name: /old_banner/ }).getByText("Stale").waitFor();
  await page.getByRole("row", { name: /shadowed/ }).getByText("Overruled by memory").waitFor();
});

test("a kill says whom it hits, is in force at once, and is taken back", async () => {
  await flag("kill_me", { enabled: true, percentage: 100, allowed_users: ["tester"] });
  assert.equal(await shop("kill_me", "u"), true);
  const page = await as(ALICE, "flags/kill_me");
  await press(page, "Kill…");
  await dialog(page).getByText("for everybody").waitFor();
  await dialog(page).getByText("everyone").waitFor();
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  assert.equal(await shop("kill_me", "u"), true, "a question is no kill");

  await press(page, "Kill…");
  await dialog(page).getByLabel("Why?").fill("INC-17 checkout fails");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
  assert.equal(await shop("kill_me", "u"), false);
  assert.equal(await state(page).innerText(), "Killed");
  await page.locator("blockquote").filter({ hasText: "INC-17 checkout fails" }).waitFor();
  const { body } = await api("GET", "flags/kill_me/history");
  assert.deepEqual([body.entries[0].actor, body.entries[0].reason], ["alice", "INC-17 checkout fails"]);

  await press(page, "Restore…");
  await dialog(page).getByText("It comes back on for everyone.").waitFor();
  await press(page, "Restore it");
  await page.getByRole("heading", { name: "On for everyone" }).waitFor();
  await until(async () => assert.equal(await shop("kill_me", "u"), true));
});

test("a share is changed to thousandths by slider, number and keys", async () => {
  await flag("share_me", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/share_me");
  const slider = page.getByRole("slider", { name: "Share of users" });
  const number = page.getByRole("textbox", { name: "Share of users in percent" });
  await slider.focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await number.inputValue(), "11");
  await number.fill("12.3456");
  assert.equal(await page.getByRole("button", { name: "Change…", exact: true }).first().isDisabled(), true);
  await number.fill("12.345");
  await page.getByText("23.45 of every 1000 users more get it.").waitFor();
  await press(page, "Change to 12.345\u202f%…");
  await dialog(page).getByText("From 10\u202f% to 12.345\u202f%").waitFor();
  await dialog(page).getByLabel("Why?").fill("a bit more");
  await save(page, "Change to 12.345\u202f%");
  assert.equal((await stored("share_me")).flag.percentage, 12.345);
  await press(page, "0\u202f%");
  await page.getByText("lose it").waitFor();
  await press(page, "Undo");
  assert.equal(await number.inputValue(), "12.345");
});

test("a rollout is started, advanced, paused, resumed, taken back and rolled back", async () => {
  await flag("roll_me", { enabled: true, percentage: 0 });
  const page = await as(ALICE, "flags/roll_me");
  const act = async (button, confirm) => {
    await press(page, button);
    await press(page, confirm ?? button.replace("…", ""));
    await dialog(page).waitFor({ state: "detached" });
  };
  await press(page, "Start a plan…");
  await dialog(page).getByRole("img", { name: /^Plan: 1/ }).waitFor();
  await dialog(page).getByLabel("Share in percent").nth(1).fill("0.5");
  await dialog(page).getByText("below the one before").waitFor();
  await press(page, "Start the plan");
  await dialog(page).getByRole("alert").getByText("below the one before").waitFor();
  await dialog(page).getByLabel("Share in percent").nth(1).fill("10");
  await save(page, "Start the plan");
  await page.getByText("1\u202f% now").waitFor();
  assert.equal(await state(page).innerText(), "Rolling out");
  await page.getByRole("img", { name: /Plan: 1.*Now 1/ }).waitFor();
  await page.locator(".plan-chart .now-label").waitFor();

  await act("Advance to 10\u202f%…");
  await page.getByText("10\u202f% now", { exact: true }).waitFor();
  assert.equal((await stored("roll_me")).percentage, 10);
  await act("Pause…");
  await page.getByText("Paused at 10\u202f%").waitFor();
  assert.ok((await stored("roll_me")).rollout.paused_since);
  await act("Resume…");
  await page.getByText("10\u202f% now", { exact: true }).waitFor();
  await press(page, "Back to 1\u202f%…");
  await dialog(page).getByText("90 of every 1000 users lose it").waitFor();
  await press(page, "Back to 1\u202f%");
  await page.getByText("Paused at 1\u202f%").waitFor();
  await act("Roll back…");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
  assert.equal((await stored("roll_me")).flag.enabled, false);
  await act("Restore…", "Restore it");
  await page.getByText("Its plan is paused.").waitFor();
  await act("End the plan…", "End the plan");
  await page.getByRole("slider", { name: "Share of users" }).waitFor();
  assert.equal((await stored("roll_me")).flag.percentage, 1);
});

test("a flag goes back to an earlier version, and stays off where it was off", async () => {
  await flag("revert_me", { enabled: true, percentage: 5, description: "first" });
  await api("PATCH", "flags/revert_me", { percentage: 60, description: "second" });
  const page = await as(ALICE, "flags/revert_me");
  await press(page, "Revert to version 1…");
  await dialog(page).getByText("second").waitFor();
  await save(page, "Revert to version 1");
  assert.equal((await stored("revert_me")).flag.percentage, 5);
  await api("POST", "flags/revert_me/kill");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
  await press(page, "Revert to version 2…");
  await dialog(page).getByText("stays off").waitFor();
  await press(page, "Revert to version 2");
  await until(async () => assert.deepEqual(await stored("revert_me").then(({ flag: { enabled, percentage } }) => [enabled, percentage]), [false, 60]));
});

test("what a user gets is explained in words", async () => {
  await flag("explain_me", { enabled: true, percentage: 50, allowed_users: ["maria"], rules: [{ when: [{ attribute: "plan", op: "equals", values: ["pro"] }], serve: true }] });
  const page = await as(ALICE, "flags/explain_me");
  const verdict = page.locator(".verdict b");
  await page.getByLabel("User id").fill("maria");
  await press(page, "Ask");
  await page.getByText("This user is named.").waitFor();
  assert.equal(await verdict.innerText(), "On");
  await page.getByLabel("User id").fill("");
  await press(page, "Ask");
  await page.getByText("nobody can be drawn").waitFor();
  assert.equal(await verdict.innerText(), "Off");
  await page.getByText("Groups and attributes").click();
  await page.getByLabel("Attributes").fill("plan = pro");
  await press(page, "Ask");
  await page.getByText("Rule 1 decides.").waitFor();
  await page.getByLabel("Attributes").fill("");
  await page.getByLabel("User id").fill("somebody");
  await press(page, "Ask");
  await page.getByText(/place, \d+(\.\d+)?, is (not )?below the share of 50/).waitFor();
  await page.getByRole("img", { name: /^Bucket/ }).waitFor();
  assert.equal(await verdict.innerText(), (await shop("explain_me", "somebody")) ? "On" : "Off", "as the service answers");
  await page.goto(`${ADMIN}/#/explain`);
  await page.getByRole("heading", { name: "Who gets what" }).waitFor();
  await page.getByLabel("User id").fill("maria");
  await press(page, "Ask");
  await page.getByRole("row", { name: /explain_me On This user is named/ }).waitFor();
});

test("an answer goes with the rules", async () => {
  await flag("asked", { enabled: true, percentage: 100 });
  const page = await as(ALICE, "flags/asked");
  await page.getByLabel("User id").fill("maria");
  await press(page, "Ask");
  await page.locator(".verdict").filter({ hasText: "On for maria" }).waitFor();
  await api("POST", "flags/asked/kill");
  await page.locator(".verdict").filter({ hasText: "Off for maria" }).waitFor();
});

test("where another layer has the last word, that one is named and not the store", async () => {
  const page = await as(ALICE, "flags/shadowed");
  await page.getByRole("heading", { name: "On here, by memory" }).waitFor();
  await press(page, "Kill in the store…");
  await dialog(page).getByRole("button", { name: "Kill it now" }).click();
  await page.getByText("The store says killed.").waitFor();
  await page.getByRole("heading", { name: "On here, by memory" }).waitFor();
  assert.equal(await shop("shadowed", "u"), true);
  await press(page, "Restore in the store…");
  await save(page, "Restore it");
});

test("a plan that begins in the past says what is in force at once, and no step is endless", async () => {
  await flag("late_plan", { enabled: true, percentage: 1 });
  const page = await as(ALICE, "flags/late_plan");
  await press(page, "Start a plan…");
  await dialog(page).getByLabel("Begins").fill("2020-01-01T09:00");
  await dialog(page).getByText("It begins in the past: 100 % of users have it at once, and the plan is over.").waitFor();
  await dialog(page).getByLabel("Begins").fill("");
  await dialog(page).getByRole("spinbutton").nth(1).fill("1000000000");
  await dialog(page).getByText("at most ten years").first().waitFor();
});

test("a session that the browser does not keep is told from a wrong token", async () => {
  const page = await open(ADMIN);
  await page.route("**/login", (route) => route.fulfill({ json: { expires_in: 36000 } }));
  await page.getByLabel("Your token").fill(ALICE);
  await press(page, "Log in");
  await page.getByText("served by HTTPS").waitFor();
});

test("an import shows what it would change first, and the export can be kept", async () => {
  await flag("import_me", { enabled: false, percentage: 10 });
  const page = await as(ALICE, "transfer", { mayFail: /422/ });
  const text = page.getByLabel("Or as text");
  await text.fill('{"flags": {"import_me": {"enabled": true, "percentage": 1000}}}');
  await press(page, "Show what would change");
  await page.getByText("Nothing can be imported as long as a flag is refused").waitFor();
  await text.fill('{"flags": {"import_me": {"enabled": true, "percentage": 20}, "imported": true}}');
  await press(page, "Show what would change");
  await page.getByText("1 new and 1 changed").waitFor();
  await page.getByText("and stays off").waitFor();
  assert.equal((await api("GET", "flags/imported")).status, 404, "nothing before it is confirmed");
  await press(page, "Import 2 changes…");
  await press(page, "Import");
  await page.locator(".notice").filter({ hasText: /Imported: \d/ }).waitFor();
  assert.deepEqual((await stored("import_me")).flag, { enabled: false, percentage: 20 });
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Save flags.json" }).click()]);
  assert.equal(download.suggestedFilename(), "flags.json");
});

test("an export that leaves flags out says so beside its button", async () => {
  const page = await as(ALICE);
  const left = { "x-left-out": "a%20b, too_long", "x-left-out-count": "3" };
  await page.route("**/export", (route) => (route.request().method() === "HEAD" ? route.fulfill({ headers: left }) : route.fallback()));
  await page.evaluate(() => {
    location.hash = "#/transfer";
  });
  await page.getByText("does not have 3 flags").waitFor();
  await page.getByText("a b, too_long and 1 more").waitFor();
});

test("a flag that requires a missing one is said to reach nobody, with the reason, until that one is there", async () => {
  assert.equal(await shop("needs_missing", "u"), false);
  const [page, list] = [await as(ALICE, "flags/needs_missing"), await as(ALICE)];
  await list.getByLabel("Search").fill("needs_missing");
  const row = list.getByRole("row", { name: /needs_missing/ });
  await row.getByText("Off by a problem").waitFor();
  assert.equal(await row.locator(".col-share").innerText(), "nobody");
  await list.getByRole("button", { name: /^Needs attention/ }).click();
  await row.waitFor();
  const power = page.locator(".power");
  await power.getByRole("heading", { name: "Switched on, but nobody gets it here now" }).waitFor();
  await power.getByText(/checkout_v2/).first().waitFor();
  assert.equal(await state(page).innerText(), "Off by a problem");
  assert.equal(await page.getByRole("heading", { name: "On for everyone" }).count(), 0);
  await press(page, "Kill…");
  await dialog(page).getByText("here nobody has it now").waitFor();
  await page.keyboard.press("Escape");

  await flag("checkout_v2", { enabled: true });
  await page.getByRole("heading", { name: "On for everyone" }).waitFor();
  await list.getByRole("button", { name: /^All/ }).click();
  await row.getByText("On", { exact: true }).waitFor();
  assert.equal(await shop("needs_missing", "u"), true);
});

test("what is asked before an edit says to what share of users it goes", async () => {
  await flag("to_whom", { enabled: true, percentage: 10 });
  await api("PATCH", "flags/to_whom", { percentage: 40, allowed_users: ["maria"] });
  const page = await as(ALICE, "flags/to_whom");
  const says = async (words) => {
    await dialog(page).getByText(words).waitFor();
    await page.keyboard.press("Escape");
    await dialog(page).waitFor({ state: "detached" });
  };
  await press(page, "Revert to version 1…");
  await says("From 40\u202f% of users, plus 1 user by name to 10\u202f% of users.");
  await press(page, "Remove flag…");
  await says("It goes away from 40\u202f% of users, plus 1 user by name.");
  await press(page, "Edit as JSON…");
  await dialog(page).getByLabel("JSON").fill('{"on": true, "rollout_percentage": 70}');
  await says("From 40\u202f% of users, plus 1 user by name to 70\u202f% of users.");
  await pressIn(page, "By name", "Change…");
  await dialog(page).getByLabel("Add users").fill("tom");
  await says("The share stays at 40\u202f%.");
  await pressIn(page, "About", "Change…");
  await dialog(page).getByLabel("Owner").fill("web");
  await says("It stays on for 40\u202f% of users, plus 1 user by name. The share stays at 40\u202f%.");
  await api("POST", "flags/to_whom/kill");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
  await press(page, "Edit as JSON…");
  const text = dialog(page).getByLabel("JSON");
  await text.fill((await text.inputValue()).replace("false", "true"));
  await dialog(page).getByText("This switches it on for somebody.").waitFor();
  await says("From nobody to 40\u202f% of users, plus 1 user by name.");
  await press(page, "Revert to version 1…");
  await says("Nobody gets it before or after.");
});

test("the top of the page names the store and whether it answers", async () => {
  const page = await as(ALICE, "", { mayFail: /503/, viewport: { width: 360, height: 740 } });
  const top = page.getByRole("banner");
  await top.getByText("Store: shaky, it answers").waitFor();
  await fits(page, "top");
  await fetch(`${NESTED}/store/down`, { method: "POST" });
  await top.getByText("Store: shaky does not answer").waitFor();
  await fits(page, "top without a store");
  await fetch(`${NESTED}/store/up`, { method: "POST" });
  await top.getByText("Store: shaky, it answers").waitFor();
});

test("whoever may only look is offered nothing else", async () => {
  await flag("look_at_me", { enabled: true, percentage: 10 });
  const page = await as(VERA, "flags/look_at_me");
  await page.getByText("may look only").waitFor();
  await page.locator(".timeline > li").waitFor();
  const offered = await page.getByRole("main").getByRole("button").allInnerTexts();
  assert.deepEqual(offered, ["Ask"]);
  await page.goto(`${ADMIN}/#/`);
  await page.getByRole("heading", { name: "Flags", exact: true }).waitFor();
  assert.equal(await page.getByRole("link", { name: "New flag" }).count(), 0);
});

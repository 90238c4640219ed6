// Several people at one flag, and a store that is away.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN, ALICE, BOB, NESTED, accessible, api, as, dialog, flag, picture, press, shop, spy, stored, until } from "./support.js";

const store = (fate) => fetch(`${NESTED}/store/${fate}`, { method: "POST" });

test("what somebody else edits appears by itself, with who and why", async () => {
  await flag("watch_me", { enabled: true, percentage: 10 });
  const [page, list] = [await as(ALICE, "flags/watch_me"), await as(ALICE)];
  await list.getByLabel("Search").fill("watch_me");
  await api("PATCH", "flags/watch_me?reason=more%20of%20it", { percentage: 35 });
  await page.getByRole("heading", { name: "On for 35\u202f% of users" }).waitFor();
  await page.locator(".notice").filter({ hasText: "bob has just changed this flag: “more of it”" }).waitFor();
  await page.locator("blockquote").filter({ hasText: "more of it" }).waitFor();
  await list.getByRole("row", { name: /watch_me.*35/ }).waitFor();
});

test("a page that nobody looks at gives its connection back, and looks at everything anew when it is seen", async () => {
  await flag("unseen", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/unseen");
  await page.addInitScript(spy);
  await page.reload();
  const turn = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  const states = () => page.evaluate(() => globalThis.streams.map(({ readyState }) => readyState));
  const heading = (share) => page.getByRole("heading", { name: `On for ${share}\u202f% of users` });
  const [OPEN, CLOSED] = [1, 2];
  await until(async () => assert.deepEqual(await states(), [OPEN]));
  await turn(true);
  await turn(false);
  await turn(true);
  await api("PATCH", "flags/unseen", { percentage: 20 });
  await heading(20).waitFor();
  assert.deepEqual(await states(), [OPEN], "not at once");
  await until(async () => assert.deepEqual(await states(), [CLOSED]));
  await page.goto(`${ADMIN}/#/changes`);
  const newest = page.locator(".timeline > li").first();
  await newest.getByText("20\u202f%").waitFor();
  await api("PATCH", "flags/unseen", { percentage: 30 });
  await until(async () => assert.equal((await stored("unseen")).in_force.percentage, 30));
  assert.equal(await newest.getByText("30\u202f%").count(), 0, "nobody is told who does not look");
  await turn(false);
  await newest.getByText("30\u202f%").waitFor();
  await page.goBack();
  await heading(30).waitFor();
  await until(async () => assert.deepEqual(await states(), [CLOSED, OPEN]));
  await api("PATCH", "flags/unseen", { percentage: 40 });
  await heading(40).waitFor();
  assert.deepEqual(await page.evaluate(() => globalThis.lost), [], "never said to be lost");
});

test("an edit of one's own is not announced as somebody else's", async () => {
  await flag("own_edit", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/own_edit");
  // The event comes first, the answer after it.
  await page.route("**/flags/own_edit*", async (route) => {
    if (route.request().method() !== "PATCH") return route.fallback();
    const response = await route.fetch();
    await new Promise((resolve) => setTimeout(resolve, 700));
    return route.fulfill({ response });
  });
  await press(page, "25\u202f%");
  await press(page, "Change to 25\u202f%…");
  await press(page, "Change to 25\u202f%");
  await page.locator(".notice").filter({ hasText: "is saved" }).waitFor();
  await page.getByRole("heading", { name: "On for 25\u202f% of users" }).waitFor();
  await page.waitForTimeout(400);
  assert.equal(await page.locator(".notice.news").count(), 0);
});

test("of two who edit at once, the second sees both and decides", async () => {
  await flag("both_edit", { enabled: true, percentage: 10 });
  const [alice, bob] = [await as(ALICE, "flags/both_edit", { mayFail: /412/ }), await as(BOB, "flags/both_edit")];
  const change = async (page, to) => {
    await page.getByLabel("Share of users in percent").fill(String(to));
    await press(page, `Change to ${to}\u202f%…`);
    await dialog(page).getByLabel("Why?").fill(`to ${to}`);
  };
  await change(alice, 20);
  await change(bob, 40);
  await press(bob, "Change to 40\u202f%");
  await bob.locator(".notice").filter({ hasText: "is saved" }).waitFor();
  await alice.locator(".notice").filter({ hasText: "What you began is still here" }).waitFor();
  await press(alice, "Change to 20\u202f%");

  await alice.getByRole("heading", { name: "Somebody else was faster" }).waitFor();
  assert.equal((await stored("both_edit")).flag.percentage, 40, "nothing is overwritten");
  await dialog(alice).getByText("bob changed both_edit just now: “to 40”").waitFor();
  const [theirs, mine] = await dialog(alice).locator(".versions section").allInnerTexts();
  assert.match(theirs, /10\s%[^]*40\s%/);
  assert.match(mine, /10\s%[^]*20\s%/);
  await dialog(alice).getByText("Both of you changed: Share of users").waitFor();
  await accessible(alice, "conflict");
  await picture(alice, "light-conflict");

  await press(alice, "Keep theirs, drop mine");
  await dialog(alice).waitFor({ state: "detached" });
  await until(async () => assert.equal(await alice.getByLabel("Share of users in percent").inputValue(), "40"));

  await change(alice, 20);
  await api("PATCH", "flags/both_edit", { owner: "web" });
  await press(alice, "Change to 20\u202f%");
  await press(alice, "Make my change on top of theirs");
  await alice.locator(".notice").filter({ hasText: "is saved" }).first().waitFor();
  const { flag: { percentage, owner } } = await stored("both_edit");
  assert.deepEqual([percentage, owner], [20, "web"], "theirs stays where mine does not touch it");
});

/** A page with the definition of a flag in a form, as `change` writes it, that is saved after `meanwhile`. */
async function definitionConflict(name, change, meanwhile) {
  const page = await as(ALICE, `flags/${name}`, { mayFail: /404|412/ });
  await press(page, "Edit as JSON…");
  const text = dialog(page).getByLabel("JSON");
  await text.fill(change(await text.inputValue()));
  await meanwhile();
  await press(page, "Save");
  await page.getByRole("heading", { name: "Somebody else was faster" }).waitFor();
  return page;
}

test("a definition saved after somebody's kill takes along what was changed in it, and nothing else", async () => {
  await flag("json_kill", { enabled: true, percentage: 50, owner: "web", metadata: { big: 1, deep: { a: 1 } } });
  const page = await definitionConflict("json_kill", (text) => text.replace("50", "60").replace('"a": 1', '"a": 2'),
    () => api("PATCH", "flags/json_kill?reason=INC-9", { enabled: false, owner: "carol", tags: ["x"] }));
  const [theirs, mine] = await dialog(page).locator(".versions section").allInnerTexts();
  assert.match(theirs, /Switch off for everyone[^]*web[^]*carol/i);
  assert.match(mine, /60/);
  assert.doesNotMatch(mine, /switch|owner/i);
  assert.equal(await dialog(page).getByText("Both of you changed").count(), 0);
  await dialog(page).getByText("Nobody gets it before or after.").waitFor();
  await accessible(page, "conflict of definitions");
  // Somebody is faster once more.
  await api("PATCH", "flags/json_kill", { description: "later" });
  await press(page, "Make my change on top of theirs");
  await dialog(page).getByText("later").first().waitFor();
  await press(page, "Make my change on top of theirs");
  await page.locator(".notice").filter({ hasText: "is saved" }).first().waitFor();
  assert.deepEqual((await stored("json_kill")).flag, { enabled: false, percentage: 60, owner: "carol", tags: ["x"], description: "later", metadata: { big: 1, deep: { a: 2 } } });
  assert.equal(await shop("json_kill", "u"), false);
});

test("a definition switches on what others left off where somebody turned the switch in it and says so again", async () => {
  await flag("json_on", { enabled: false, percentage: 100, owner: "web" });
  const page = await definitionConflict("json_on", (text) => text.replace("false", "true").replace("web", "me"), () => api("PATCH", "flags/json_on", { owner: "carol", percentage: 30 }));
  await dialog(page).getByText("Both of you changed: Owner.").waitFor();
  await press(page, "Make my change on top of theirs");
  await dialog(page).getByRole("alert").getByText("it is to be switched on").waitFor();
  assert.equal((await stored("json_on")).flag.enabled, false, "nothing without a word");
  await accessible(page, "conflict that switches on");
  await picture(page, "light-conflict-definition");
  await dialog(page).getByLabel("Switch it on for 30\u202f% of users").check();
  await press(page, "Make my change on top of theirs");
  await page.locator(".notice").filter({ hasText: "is saved" }).first().waitFor();
  assert.deepEqual((await stored("json_on")).flag, { enabled: true, percentage: 30, owner: "me" });
});

test("a definition in other words keeps the switch that somebody turned, and none comes back from removal", async () => {
  await flag("json_words", '{"on": true, "percentage": 5, "metadata": {"id": 12345678901234567890}}');
  const page = await definitionConflict("json_words", () => '{"enabled": true, "percentage": 7, "metadata": {"id": 12345678901234567890}}', () => api("POST", "flags/json_words/kill"));
  await press(page, "Make my change on top of theirs");
  await page.locator(".notice").filter({ hasText: "is saved" }).first().waitFor();
  const { text } = await stored("json_words");
  assert.match(text, /"on": false/);
  assert.match(text, /"percentage": 7/);
  assert.match(text, /12345678901234567890/, "digits that JavaScript has no room for");

  const { etag } = await api("GET", "flags/json_words");
  const other = await definitionConflict("json_words", (text) => text.replace("7", "8"), () => api("PUT", "flags/json_words", "false", { headers: { "if-match": etag } }));
  await press(other, "Make my change on top of theirs");
  await other.locator(".notice").filter({ hasText: "is saved" }).first().waitFor();
  assert.equal((await stored("json_words")).flag.enabled, false);

  const last = await stored("json_words");
  const gone = await definitionConflict("json_words", (text) => text.replace("8", "9"), () => api("DELETE", "flags/json_words", undefined, { headers: { "if-match": last.etag } }));
  await dialog(gone).getByText("They removed the flag.").waitFor();
  assert.equal(await gone.getByRole("button", { name: "Make my change on top of theirs" }).count(), 0);
});

test("a kill goes onto whatever others have made of the flag", async () => {
  await flag("kill_both", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/kill_both");
  await press(page, "Kill…");
  await api("PATCH", "flags/kill_both", { percentage: 50 });
  await press(page, "Kill it now");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
  assert.deepEqual(await stored("kill_both").then(({ flag: { enabled, percentage } }) => [enabled, percentage]), [false, 50]);
});

test("while the store is away a kill works here, says so loudly, and is written afterwards", async () => {
  await flag("kill_here", { enabled: true });
  const page = await as(ALICE, "flags/kill_here", { mayFail: /503/ });
  await store("down");
  await page.getByRole("heading", { name: "The store cannot be reached" }).waitFor();
  await press(page, "Kill…");
  await press(page, "Kill it now");
  await page.locator(".notice.bad").filter({ hasText: "Off in this process only" }).waitFor();
  await page.locator(".power").getByRole("heading", { name: "Off in this process only" }).waitFor();
  await page.locator(".banner.bad").getByText("Other processes may still serve it.").waitFor();
  assert.equal(await shop("kill_here", "u"), false);
  await accessible(page, "local kill");
  await picture(page, "light-local-kill");
  await page.goto(`${ADMIN}/#/`);
  await page.getByRole("row", { name: /kill_here/ }).getByText("Off here only").waitFor();
  await page.goto(`${ADMIN}/#/flags/kill_here`);
  await store("up");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
  await until(async () => assert.equal(await page.locator(".banner.bad").count(), 0));
  assert.equal((await stored("kill_here")).flag.enabled, false);
});

for (const [what, break_off, shown] of [
  ["which the store did not answer", () => store("mute"), "The store"],
  ["whose answer got lost on the way", (page) => page.route("**/flags/doubt_*", async (route) => {
    if (route.request().method() !== "PATCH") return route.fallback();
    await route.fetch();
    return route.abort();
  }), "The server did not answer"],
]) {
  test(`an edit ${what} is shown as in doubt, beside the flag as it is`, async () => {
    const name = `doubt_${shown.length}`;
    await flag(name, { enabled: true, percentage: 10 });
    const page = await as(ALICE, `flags/${name}`, { mayFail: /503|ERR_FAILED/ });
    await press(page, "25\u202f%");
    await press(page, "Change to 25\u202f%…");
    await break_off(page);
    await press(page, "Change to 25\u202f%");
    await dialog(page).getByRole("alert").getByText("Nobody knows whether this was saved.").waitFor();
    await page.getByRole("heading", { name: "On for 25\u202f% of users" }).waitFor();
    await accessible(page, "doubt");
    await press(page, "Cancel");
    assert.equal((await stored(name)).flag.percentage, 25);
  });
}

for (const [how, answer, isOn] of [
  ["killed in the store, too", async (page) => {
    await press(page, "Kill it in the store, too");
    await press(page, "Kill everywhere");
  }, false],
  ["left to the store", async (page) => {
    await press(page, "Let the store decide…");
    await dialog(page).getByText("it comes back on").waitFor();
    await press(page, "Let the store decide");
  }, true],
]) {
  test(`a kill made while the store was away meets a newer edit, and is ${how}`, async () => {
    const name = `asked_${isOn}`;
    await flag(name, { enabled: true, percentage: 100 });
    const page = await as(ALICE, `flags/${name}`, { mayFail: /503/ });
    await store("down");
    await page.getByRole("heading", { name: "The store cannot be reached" }).waitFor();
    await press(page, "Kill…");
    await press(page, "Kill it now");
    await page.locator(".banner.bad").getByText("as soon as the store can be reached").waitFor();
    await fetch(`${NESTED}/elsewhere/${name}/60`, { method: "POST" });
    await store("up");
    await page.locator(".banner.bad").getByText("Which one is meant?").waitFor();
    await page.locator(".power").getByText("Somebody has edited the flag in the store since").waitFor();
    assert.equal(await shop(name, "u"), false, "off here until somebody decides");
    assert.equal((await stored(name)).flag.enabled, true);
    await accessible(page, "question");
    await picture(page, "light-question");
    await answer(page);
    await page.locator(".banner.bad").waitFor({ state: "detached" });
    await dialog(page).waitFor({ state: "detached" });
    await page.getByRole("heading", { name: isOn ? "On for 60\u202f% of users" : "Killed: nobody gets it" }).waitFor();
    assert.deepEqual(await stored(name).then(({ flag: { enabled, percentage } }) => [enabled, percentage]), [isOn, 60]);
  });
}

test("a question that is not answered is no edit in doubt", async () => {
  const page = await as(ALICE, "explain", { mayFail: /ERR_FAILED/ });
  await page.route(/\/(explain|import\?.*)$/, (route) => route.abort());
  await press(page, "Ask");
  await page.locator(".error").getByText("The server cannot be reached").waitFor();
  await page.goto(`${ADMIN}/#/transfer`);
  await page.getByLabel("Or as text").fill('{"flags": {}}');
  await press(page, "Show what would change");
  await page.locator(".error").getByText("The server cannot be reached").waitFor();
});

test("an import is made for what was looked at, and nothing is imported blindly", async () => {
  await flag("blind_import", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "transfer", { mayFail: /412/ });
  await page.getByLabel("Or as text").fill('{"flags": {"blind_import": {"enabled": true, "percentage": 20}}}');
  await press(page, "Show what would change");
  await page.getByText("1 changed").waitFor();
  await press(page, "Import 1 change…");
  await dialog(page).getByText("From 10\u202f% of users to 20\u202f% of users.").waitFor();
  await accessible(page, "question import");
  await api("POST", "flags/blind_import/kill");
  await press(page, "Import");
  await page.getByText("flags were changed since you looked").waitFor();
  await dialog(page).waitFor({ state: "detached" });
  assert.deepEqual((await stored("blind_import")).flag, { enabled: false, percentage: 10 }, "nothing was imported");
  await page.getByText("and stays off").waitFor();
  await press(page, "Import 1 change…");
  await dialog(page).getByText("The share of users stays as it is.").waitFor();
  await press(page, "Import");
  await page.locator(".notice").getByText("Imported:").waitFor();
  assert.deepEqual((await stored("blind_import")).flag, { enabled: false, percentage: 20 });
});

test("a kill of which the store took nothing else says what it did not take", async () => {
  await flag("kill_part", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/kill_part");
  await page.route("**/flags/kill_part/kill*", async (route) => {
    const response = await route.fetch();
    return route.fulfill({ response, json: { ...await response.json(), not_taken: ["owner", "percentage"] } });
  });
  await press(page, "Kill…");
  await press(page, "Kill it now");
  await page.locator(".notice.bad").getByText("Owner, Share of users are as they were").waitFor();
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
});

test("an import that gets stuck shows what was done and what was not", async () => {
  for (const name of ["stuck_a", "stuck_b", "stuck_c"]) await flag(name, { enabled: true, percentage: 1 });
  const page = await as(ALICE, "transfer", { mayFail: /503/ });
  const to = (percentage) => Object.fromEntries(["stuck_a", "stuck_b", "stuck_c"].map((name) => [name, { enabled: true, percentage }]));
  await page.getByLabel("Or as text").fill(JSON.stringify({ flags: to(2) }));
  await press(page, "Show what would change");
  await page.getByText("3 changed").waitFor();
  await press(page, "Import 3 changes…");
  await store("once");
  await press(page, "Import");
  await dialog(page).getByRole("alert").getByText("those behind it are not").waitFor();
  await press(page, "Cancel");
  const items = page.locator(".outcome > li");
  await items.filter({ hasText: "stuck_b was refused" }).waitFor();
  assert.deepEqual(await items.allInnerTexts().then((texts) => texts.map((text) => text.split("\n")[0])), ["stuck_a was changed", "stuck_b was refused"]);
  await page.getByText("1 changed and 1 refused").waitFor();
  await page.getByText("those behind it are not").waitFor();
  assert.equal(await page.getByRole("button", { name: /^Import / }).count(), 0, "it is looked at anew first");
  await accessible(page, "stuck import");
  await store("up");
  assert.deepEqual([(await stored("stuck_a")).percentage, (await stored("stuck_b")).percentage], [2, 1]);
});

/** A promise, and what fulfils it. */
function promised() {
  let keep;
  const promise = new Promise((done) => { keep = done; });
  return [promise, keep];
}

test("an answer that is overtaken by a later one undoes nothing", async () => {
  await flag("overtaken", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/overtaken");
  const heading = (share) => page.getByRole("heading", { name: `On for ${share}\u202f% of users` });
  await heading(10).waitFor();
  await page.evaluate(() => {
    globalThis.headings = ["On for 10"];
    new MutationObserver(() => {
      const [share] = document.querySelector("main").textContent.match(/On for \d+/) ?? [];
      if (share && share !== headings.at(-1)) headings.push(share);
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  const [asked, isAsked] = promised(), [released, release] = promised(), [fulfilled, isFulfilled] = promised();
  let isFirst = true;
  await page.route("**/flags/overtaken", async (route) => {
    if (!isFirst) return route.continue();
    isFirst = false;
    const response = await route.fetch();
    isAsked();
    await released;
    await route.fulfill({ response });
    isFulfilled();
  });
  await api("PATCH", "flags/overtaken", { percentage: 20 });
  await asked;
  await api("PATCH", "flags/overtaken", { percentage: 30 });
  await heading(30).waitFor();
  release();
  await fulfilled;
  await api("PATCH", "flags/overtaken", { percentage: 40 });
  await heading(40).waitFor();
  assert.deepEqual(await page.evaluate(() => headings), ["On for 10", "On for 30", "On for 40"]);
});

test("a page whose question failed asks again, since the event does not come again", async () => {
  await flag("asked_again", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/asked_again", { mayFail: /503/ });
  let asked = 0;
  await page.route("**/flags/asked_again", (route) => ((asked += 1) === 1 ? route.fulfill({ status: 503, body: "{}" }) : route.continue()));
  await api("PATCH", "flags/asked_again", { percentage: 20 });
  await page.locator(".power").getByText("On for 20 %").waitFor();
  assert.ok(asked > 1, `asked ${asked} times`);
});

test("an answer to a kill that is older than what the page shows is not the last word", async () => {
  await flag("older_answer", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/older_answer", { mayFail: /503/ });
  await store("down");
  await press(page, "Kill…");
  await dialog(page).getByRole("button", { name: "Kill it now" }).click();
  await dialog(page).waitFor({ state: "detached" });
  const [here, killed] = ["Off in this process only", "Killed: nobody gets it"].map((name) => page.locator(".power").getByRole("heading", { name }));
  await here.waitFor();
  const [kill] = (await api("GET", "status")).body.local_kills.filter(({ flag }) => flag === "older_answer");
  await page.route("**/flags/older_answer/kill*", async (route) => {
    await store("up");
    let response = await route.fetch();
    // The process may find the store again only after this.
    while (response.status() === 202) response = await route.fetch();
    // The page hears that the kill is in the store before it gets the answer, which was made before that.
    await killed.waitFor();
    await route.fulfill({ response, json: { ...await response.json(), local_kill: kill } });
  });
  await press(page, "Try to kill it everywhere");
  await dialog(page).getByRole("button", { name: "Kill it now" }).click();
  await dialog(page).waitFor({ state: "detached" });
  await killed.waitFor();
});

// The focus and the caret stay with whoever works at the page, whatever arrives from elsewhere meanwhile.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN, ALICE, MANY, NESTED, api, as, dialog, flag, press, stored, until } from "./support.js";

const store = (fate) => fetch(`${NESTED}/store/${fate}`, { method: "POST" });

/** An edit of one of many flags. Its store gives up after five seconds, which a busy machine may need. */
const editMany = (name, keys) => until(async () => {
  const response = await fetch(`${MANY}/flags/${name}`, { method: "PATCH", headers: { authorization: `Bearer ${ALICE}` }, body: JSON.stringify(keys) });
  assert.equal(response.status, 200, await response.text());
});

let arrivals = 0;

/** Lets an edit of somebody else arrive at a page of a flag, and waits until all of it is drawn again. */
async function arrive(page, name) {
  const description = `arrival ${(arrivals += 1)}`;
  const { status } = await api("PATCH", `flags/${name}`, { description });
  assert.equal(status, 200);
  await page.locator(".description").getByText(description, { exact: true }).waitFor();
  // The history is drawn last.
  await page.locator(".timeline > li").first().getByText(description).waitFor();
}

/** What has the focus, in words. */
const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  return element === document.body ? "nothing" : element.ariaLabel ?? element.labels?.[0]?.textContent ?? element.textContent;
});
const has = (page, name) => until(async () => assert.equal(await focused(page), name));
const closed = (page) => dialog(page).waitFor({ state: "detached" });

const FULL = { enabled: true, percentage: 50, allowed_users: ["maria"], variants: { a: 50, b: 50 }, rules: [{ when: [{ attribute: "plan", op: "equals", values: ["pro"] }], serve: true }], owner: "web" };

/** Flags as the questions need them. */
const SET_UP = {
  full: (name) => flag(name, FULL),
  killed: async (name) => {
    await flag(name, FULL);
    await api("POST", `flags/${name}/kill`);
  },
  planned: async (name, ...steps) => {
    await flag(name, { enabled: true, percentage: 0 });
    const stages = [{ percentage: 1, hours: 24 }, { percentage: 25, hours: 24 }, { percentage: 100 }];
    assert.equal((await api("POST", `flags/${name}/rollout/start`, { stages })).status, 200);
    for (const step of steps) assert.equal((await api("POST", `flags/${name}/rollout/${step}`)).status, 200);
  },
  paused: (name) => SET_UP.planned(name, "pause"),
  advanced: (name) => SET_UP.planned(name, "advance"),
};

/** Fills in why a question is answered as it is, with the caret in the middle. */
async function beginsToSayWhy(page) {
  const why = dialog(page).getByLabel("Why?");
  await why.focus();
  await page.keyboard.type("two words");
  for (let steps = 0; steps < 6; steps += 1) await page.keyboard.press("ArrowLeft");
  return why;
}

/** The button of each question, where there are several of the name the section it is in, and the flag. */
const QUESTIONS = [
  ["Kill…"],
  ["Restore…", { set: "killed" }],
  ["Change to 25\u202f%…", { first: "25\u202f%" }],
  ["Start a plan…"],
  ["Edit as JSON…"],
  ["Remove flag…"],
  ["Revert to version 1…", { set: "killed" }],
  ["Change…", { section: "By name" }],
  ["Change…", { section: "Rules" }],
  ["Change…", { section: "Variants" }],
  ["Change…", { section: "About" }],
  ["Pause…", { set: "planned" }],
  ["Resume…", { set: "paused" }],
  ["Advance to 25\u202f%…", { set: "planned" }],
  ["Back to 1\u202f%…", { set: "advanced" }],
  ["Roll back…", { set: "planned" }],
  ["End the plan…", { set: "planned" }],
  ["Start another…", { set: "planned" }],
];

for (const [number, [button, { section, set = "full", first } = {}]] of QUESTIONS.entries()) {
  test(`an event during a question leaves the focus and the caret in it, and then where it was asked: ${section ?? button}`, async () => {
    const name = `focus_question_${number}`;
    await SET_UP[set](name);
    const page = await as(ALICE, `flags/${name}`);
    if (first) await press(page, first);
    const place = section ? page.getByRole("region", { name: section, exact: true }) : page;
    const asks = place.getByRole("button", { name: button, exact: true });
    await asks.focus();
    await page.keyboard.press("Enter");
    const why = await beginsToSayWhy(page);
    await arrive(page, name);
    await page.keyboard.type(" or three");
    assert.equal(await why.inputValue(), "two or three words");
    await page.keyboard.press("Escape");
    await closed(page);
    await has(page, button);
    assert.equal(await asks.evaluate((element) => element === document.activeElement), true);

    // And where the page is drawn twice, once by the event and once by the answer.
    if (button !== "Start a plan…") return;
    await page.keyboard.press("Enter");
    await arrive(page, name);
    await dialog(page).getByRole("button", { name: "Cancel" }).click();
    await closed(page);
    await has(page, button);
  });
}

/** Questions about lost flags: on the page of one, and above every page. */
const OF_LOST = [["Write it back…", ".power"], ["Kill…", ".power"], ["Write them back…", "#banners"], ["Kill it in the store, too", "#banners"]];

for (const [number, [button, place]] of OF_LOST.entries()) {
  test(`another lost flag leaves the focus and the caret in a question about lost ones: ${button}`, async () => {
    const [name, another, other] = [`focus_lost_${number}`, `focus_lost_${number}_too`, `focus_other_${number}`];
    for (const lost of [name, another, other]) await flag(lost, { enabled: true, percentage: 50 });
    const lose = (lost) => fetch(`${NESTED}/lose/${lost}`, { method: "POST" });
    await lose(name);
    const isKilled = button.startsWith("Kill it");
    if (isKilled) await until(async () => assert.ok([200, 202].includes((await api("POST", `flags/${name}/kill`)).status)));
    // At the end they are removed while the page shows one.
    const page = await as(ALICE, `flags/${name}`, { mayFail: /404/ });
    await page.getByRole("heading", { name: isKilled ? "Off in this process only" : "Off: the store has lost it" }).first().waitFor();
    const asks = (isKilled ? page.locator("#banners section").filter({ hasText: name }) : page.locator(place)).getByRole("button", { name: button, exact: true });
    await asks.focus();
    await page.keyboard.press("Enter");
    const why = await beginsToSayWhy(page);
    // It stands among the lost ones, above the page.
    await lose(other);
    await page.locator("#banners").getByText(other).first().waitFor();
    await page.keyboard.type(" or three");
    assert.equal(await why.inputValue(), "two or three words");
    await page.keyboard.press("Escape");
    await closed(page);
    await has(page, button);
    if (isKilled) await api("POST", `flags/${name}/forget-kill`);
    for (const lost of [name, another, other]) assert.ok((await api("DELETE", `flags/${lost}`, undefined, { headers: { "if-match": "*" } })).status < 300);
  });
}

test("an edit that is refused leaves the focus on its button, and one that is made on what it was asked from", async () => {
  await flag("focus_refused", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/focus_refused", { mayFail: /503/ });
  await press(page, "25\u202f%");
  await page.getByRole("button", { name: "Change to 25\u202f%…" }).focus();
  await page.keyboard.press("Enter");
  await store("mute");
  await dialog(page).getByRole("button", { name: "Change to 25\u202f%" }).focus();
  await page.keyboard.press("Enter");
  await dialog(page).getByRole("alert").getByText("Nobody knows").waitFor();
  await has(page, "Change to 25\u202f%");
  await store("up");
  await page.getByRole("heading", { name: "On for 25\u202f% of users" }).waitFor();
  await page.keyboard.press("Escape");
  await closed(page);
  await until(async () => assert.notEqual(await focused(page), "nothing"));
});

test("what was asked from is gone when the question is closed: the focus is beside it", async () => {
  await flag("focus_gone", { enabled: true, percentage: 0 });
  await api("POST", "flags/focus_gone/rollout/start", { stages: [{ percentage: 1, hours: 24 }, { percentage: 100 }] });
  const page = await as(ALICE, "flags/focus_gone");
  await page.getByRole("button", { name: "Pause…" }).focus();
  await page.keyboard.press("Enter");
  await api("POST", "flags/focus_gone/rollout/pause");
  await page.getByText("Paused at 1\u202f%").waitFor();
  await page.keyboard.press("Escape");
  await closed(page);
  await until(() => page.evaluate(() => {
    if (!document.activeElement.closest(".plan")) throw new Error(`the focus is on ${document.activeElement.outerHTML.slice(0, 80)}`);
  }));
});

test("two who are faster leave the focus where the edit began", async () => {
  await flag("focus_faster", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/focus_faster", { mayFail: /412/ });
  const share = page.getByLabel("Share of users in percent");
  await share.fill("20");
  await page.keyboard.press("Enter");
  await dialog(page).waitFor();
  await api("PATCH", "flags/focus_faster", { percentage: 30 });
  await page.getByRole("heading", { name: "On for 30\u202f% of users" }).waitFor();
  await press(page, "Change to 20\u202f%");
  await page.getByRole("heading", { name: "Somebody else was faster" }).waitFor();
  await arrive(page, "focus_faster");
  await page.keyboard.press("Enter");
  await closed(page);
  await has(page, "Share of users in percent");
});

test("a session that ends over a question gives the focus back to the question, and that to the page", async () => {
  await flag("focus_session", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/focus_session", { mayFail: /401/, base: `${ADMIN}/` });
  await page.getByRole("button", { name: "Kill…" }).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("INC");
  await page.evaluate(() => fetch("logout", { method: "POST", headers: { "content-type": "application/json" } }));
  const over = page.getByRole("dialog", { name: "Your session has ended" });
  await over.getByLabel("Your token").fill(ALICE);
  await api("PATCH", "flags/focus_session", { description: "meanwhile" });
  await page.keyboard.press("Enter");
  await over.waitFor({ state: "detached" });
  await page.locator(".description").getByText("meanwhile").waitFor();
  await page.keyboard.type("-17");
  assert.equal(await dialog(page).getByLabel("Why?").inputValue(), "INC-17");
  await page.keyboard.press("Escape");
  await closed(page);
  await has(page, "Kill…");
});

test("a question of a banner gives the focus back to a banner that was drawn again", async () => {
  await flag("focus_banner", { enabled: true });
  await flag("focus_banner_2", { enabled: true });
  const page = await as(ALICE, "flags/focus_banner", { mayFail: /503/ });
  await store("down");
  await page.getByRole("heading", { name: "The store cannot be reached" }).waitFor();
  await api("POST", "flags/focus_banner/kill");
  const banner = page.locator(".banner.bad").filter({ has: page.getByRole("link", { name: "focus_banner", exact: true }) });
  await banner.getByRole("button", { name: "Let the store decide…" }).focus();
  await page.keyboard.press("Enter");
  await dialog(page).waitFor();
  await api("POST", "flags/focus_banner_2/kill");
  await page.locator(".banner.bad").nth(1).waitFor();
  await page.keyboard.press("Escape");
  await closed(page);
  await has(page, "Let the store decide…");
  assert.equal(await banner.getByRole("button").evaluate((element) => element === document.activeElement), true, "that of the same flag");
});

test("an event leaves the caret in a line, and everything that is folded out", async () => {
  await flag("focus_caret", { enabled: true, percentage: 12.345 });
  await api("PATCH", "flags/focus_caret", { owner: "web" });
  const page = await as(ALICE, "flags/focus_caret");
  const share = page.getByLabel("Share of users in percent");
  const stored = page.locator("details").filter({ has: page.getByText("As it is stored") });
  await stored.locator("summary").click();
  await page.locator(".timeline summary").last().click();
  await share.focus();
  await share.evaluate((line) => line.setSelectionRange(1, 4, "backward"));
  await arrive(page, "focus_caret");
  await has(page, "Share of users in percent");
  assert.deepEqual(await share.evaluate((line) => [line.selectionStart, line.selectionEnd, line.selectionDirection]), [1, 4, "backward"]);
  await page.keyboard.type("0");
  assert.equal(await share.inputValue(), "1045");
  assert.equal(await stored.evaluate((element) => element.open), true);
  assert.equal(await page.locator(".timeline details").last().evaluate((element) => element.open), true);
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type("12.345");
  await page.locator(".timeline summary").last().focus();
  await arrive(page, "focus_caret");
  await has(page, "Line by line");
  assert.equal(await page.locator(".timeline summary").last().evaluate((element) => element === document.activeElement), true);
});

test("an event leaves the focus in the list: on filters, rows, columns and the button for more", async () => {
  await flag("focus_list", { enabled: true, percentage: 10 });
  const page = await as(ALICE);
  const arrived = async () => {
    const percentage = ((await stored("focus_list")).percentage + 1) % 100;
    await api("PATCH", "flags/focus_list", { percentage });
    await page.getByRole("row", { name: new RegExp(`focus_list.* ${percentage}\\s%`) }).waitFor();
  };
  const chip = page.getByRole("button", { name: /^On for some/ });
  for (const control of [chip, page.getByRole("link", { name: "focus_list" }), page.getByRole("button", { name: "Owner" })]) {
    await control.focus();
    await arrived();
    await until(async () => assert.equal(await control.evaluate((element) => element === document.activeElement), true, String(control)));
  }
  const search = page.getByLabel("Search");
  await search.fill("focus_list");
  await search.evaluate((line) => line.setSelectionRange(5, 6));
  await arrived();
  await page.keyboard.type("-");
  assert.equal(await search.inputValue(), "focus-list");
  await press(page, "Show all flags");
  await has(page, "Search");

  const many = await as(ALICE, "", { base: MANY });
  const more = many.getByRole("button", { name: "Show 200 more" });
  await more.focus();
  await editMany("flag_00001", { description: "focus on more" });
  await many.getByRole("row", { name: /flag_00001.*focus on more/ }).waitFor();
  await until(async () => assert.equal(await more.evaluate((element) => element === document.activeElement), true));
});

test("an event leaves an answer as long as it was asked to be, and the focus in it", async () => {
  const page = await as(ALICE, "explain", { base: MANY });
  await page.getByLabel("User id").fill("maria");
  await press(page, "Ask");
  await page.getByRole("button", { name: "Show 200 more" }).click();
  const late = page.getByRole("link", { name: "flag_00350" });
  await late.focus();
  const before = await page.getByRole("row", { name: /flag_00007/ }).innerText();
  await editMany("flag_00007", { enabled: true, percentage: 100 });
  await until(async () => assert.notEqual(await page.getByRole("row", { name: /flag_00007/ }).innerText(), before));
  assert.equal(await late.evaluate((element) => element === document.activeElement), true);
});

test("a button that is pressed when an event arrives does what it says when it is let go", async () => {
  await flag("focus_pressed", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/focus_pressed");
  await page.getByText("Live", { exact: true }).waitFor();
  const reload = () => page.waitForResponse((response) => response.url().endsWith("/history?limit=20"));
  const kill = page.getByRole("button", { name: "Kill…" });
  await kill.hover();
  await page.mouse.down();
  let reloaded = reload();
  await api("PATCH", "flags/focus_pressed", { description: "while the mouse is down" });
  await reloaded;
  await page.mouse.up();
  await dialog(page).getByRole("button", { name: "Kill it now" }).waitFor();
  await page.keyboard.press("Escape");
  await closed(page);
  await page.locator(".description").getByText("while the mouse is down").waitFor();

  await kill.focus();
  await page.keyboard.down("Space");
  reloaded = reload();
  await api("PATCH", "flags/focus_pressed", { description: "while the key is down" });
  await reloaded;
  await page.keyboard.up("Space");
  await dialog(page).getByRole("button", { name: "Kill it now" }).waitFor();
  await page.keyboard.press("Escape");
  await closed(page);
  await page.locator(".description").getByText("while the key is down").waitFor();
  await has(page, "Kill…");
});

test("what goes by being used hands the focus on", async () => {
  await flag("focus_used", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/focus_used", { mayFail: /404/ });
  await press(page, "25\u202f%");
  await page.getByRole("button", { name: "Undo" }).focus();
  await page.keyboard.press("Enter");
  await has(page, "Share of users in percent");
  await arrive(page, "focus_used");
  await page.locator(".notice").getByRole("button", { name: "Close" }).first().focus();
  await page.keyboard.press("Enter");
  await until(async () => assert.notEqual(await focused(page), "nothing"));
  await page.getByLabel("Share of users in percent").focus();
  const { etag } = await api("GET", "flags/focus_used");
  await api("DELETE", "flags/focus_used", undefined, { headers: { "if-match": etag } });
  await page.getByRole("heading", { name: "This flag is gone" }).waitFor();
  await until(async () => assert.notEqual(await focused(page), "nothing"));
});

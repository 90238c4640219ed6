// Sessions that end: what was begun is there after the next login.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN, ALICE, BOB, accessible, api, as, dialog, flag, logIn, picture, press, save, stored, until } from "./support.js";

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

/** Everything that the page has to say, also to those who listen instead of looking. */
const said = (page) => page.evaluate(() => [document.title, document.body.textContent, ...[...document.querySelectorAll("input, textarea")].map(({ value }) => value)].join("\n"));

/** Holds back the answers of requests that match; `release` lets them go, and waits until the page has gone on from there. */
async function holdBack(page, matches) {
  let letGo, asked;
  const gate = new Promise((resolve) => (letGo = resolve));
  const isAsked = new Promise((resolve) => (asked = resolve));
  await page.route("**/flags/**", async (route) => {
    if (!matches(route.request())) return route.fallback();
    asked();
    const response = await route.fetch();
    await gate;
    await route.fulfill({ response });
  });
  return {
    isAsked,
    release: async () => {
      const answered = page.waitForResponse((response) => matches(response.request()));
      letGo();
      await (await answered).finished();
      // What goes on from the answer has had its turn.
      await page.evaluate(() => new Promise((resolve) => setTimeout(() => requestAnimationFrame(() => setTimeout(resolve)))));
    },
  };
}

test("after logging out nothing stays of what was announced, looked for or asked", async () => {
  await flag("said_last", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "explain", options);
  await page.getByLabel("User id").fill("maria@example.com");
  await press(page, "Ask");
  await page.getByText(/are on for maria/).waitFor();
  await page.goto(`${ADMIN}//#/`);
  await page.getByLabel("Search").fill("said_last");
  await api("PATCH", "flags/said_last", { percentage: 20 });
  await page.locator("#spoken").getByText("said_last was changed").waitFor({ state: "attached" });
  await press(page, "Log out");
  await page.getByLabel("Your token").waitFor();
  assert.doesNotMatch(await said(page), /said_last|maria/);
  await logIn(page, BOB);
  assert.equal(await page.getByLabel("Search").inputValue(), "");
  await page.goto(`${ADMIN}//#/explain`);
  assert.equal(await page.getByLabel("User id").inputValue(), "");
});

test("an announcement that is under way when somebody logs out is never made", async () => {
  await flag("said_late", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/said_late", options);
  await page.getByText("Live", { exact: true }).waitFor();
  const held = await holdBack(page, (request) => request.url().endsWith("/said_late/history?limit=1"));
  // A page that reloads right then, as each does when its events begin, shows an edit without announcing it.
  const isAsked = held.isAsked.then(() => true);
  for (let percentage = 20, announces = false; !announces; percentage += 1) {
    await api("PATCH", "flags/said_late?reason=a%20secret", { percentage });
    const isShown = page.getByRole("heading", { name: `On for ${percentage}\u202f% of users` }).waitFor();
    announces = await Promise.race([isAsked, isShown.then(() => false)]);
    isShown.catch(() => {});
  }
  await press(page, "Log out");
  await page.getByLabel("Your token").waitFor();
  await held.release();
  assert.doesNotMatch(await said(page), /said_late|bob|secret/);
});

test("the answer to an edit that comes after its session is over is shown to nobody", async () => {
  await flag("said_never", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/said_never", options);
  await press(page, "25\u202f%");
  await press(page, "Change to 25\u202f%…");
  const held = await holdBack(page, (request) => request.method() === "PATCH");
  await press(page, "Change to 25\u202f%");
  await held.isAsked;
  await logOutElsewhere(page);
  await over(page).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("heading", { name: "Flags", level: 1 }).waitFor();
  await held.release();
  assert.doesNotMatch(await said(page), /said_never/);
  assert.equal((await stored("said_never")).flag.percentage, 25);
  await logIn(page, BOB);
  await page.getByRole("heading", { name: "said_never", level: 1 }).waitFor();
  await api("PATCH", "flags/said_never", { percentage: 30 });
  await until(async () => assert.match(await page.locator(".power").innerText(), /30/));
  assert.equal(await page.getByText("is saved").count(), 0);
});

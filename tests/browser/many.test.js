// As many flags as a document may have.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, MANY, accessible, as, fits, press } from "./support.js";

/** Runs `action` in the page: how long until it is laid out, in milliseconds; far below that where nothing else runs. */
async function quick(page, note, what, action) {
  const took = await page.evaluate(async (action) => {
    const from = performance.now();
    await new Function("find", `return (async () => { ${action} })()`)((selector) => document.querySelector(selector));
    document.body.getBoundingClientRect();
    return performance.now() - from;
  }, action);
  note.diagnostic(`${what}: ${Math.round(took)} ms`);
  assert.ok(took < 2000, `${what} takes ${took} ms`);
}

test("ten thousand flags are found, filtered, sorted and explained without delay", async (note) => {
  const page = await as(ALICE, "", { base: MANY });
  await page.getByText("10000 flags").waitFor();
  const rows = page.locator("tbody > tr");
  assert.equal(await rows.count(), 200, "not all at once");
  const search = (text) => quick(page, note, `search ${text}`, `find("[type=search]").value = ${JSON.stringify(text)}; find("[type=search]").dispatchEvent(new Event("input"))`);
  for (const text of ["f", "fl", "flag_0", "flag_01"]) await search(text);
  await page.getByText("1000 of 10000 flags").waitFor();
  await search("flag_01234");
  await page.getByText("1 of 10000 flags").waitFor();
  await search("");
  for (const column of ["state", "share", "owner", "age", "name"]) await quick(page, note, `sort by ${column}`, `find('[data-key="sort ${column}"]').click()`);
  for (const state of ["killed", "some", "all"]) await quick(page, note, state, `find('[data-state="${state}"]').click()`);
  await press(page, "Show 200 more");
  assert.equal(await rows.count(), 400);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Show 200 more", "the focus stays");
  await accessible(page, "many flags");
  await fits(page, "many flags");

  await rows.nth(399).getByRole("link").click();
  await page.getByRole("heading", { name: "flag_00399", level: 1 }).waitFor();
  await page.goBack();
  await page.getByText("10000 flags").waitFor();
  assert.equal(await rows.count(), 400, "as many as were looked at");

  await page.goto(`${MANY}/#/explain`);
  await page.getByLabel("User id").fill("maria");
  await press(page, "Ask");
  await page.getByText(/^\d+ of 10000 are on/).waitFor();
  assert.equal(await rows.count(), 200);
});

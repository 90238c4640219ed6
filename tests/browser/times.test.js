// Times are shown in the browser's zone, which is named, and in UTC on hover.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, api, as, dialog, flag, press } from "./support.js";

const CHANGE = "The clocks change between these steps. A day of a plan is 24 hours, so the steps after the change come 1 hour";

/** What is shown of the times in a place: the words, and what stands beside them on hover. */
const timesIn = (place) => place.locator("time").evaluateAll((times) => times.map((time) => [time.textContent, time.title]));

test("steps of a plan name the zone, have UTC on hover, and say what a day is where the clocks change", async () => {
  // The clocks go forward in Berlin on 28 March 2027, in New York on 14 March.
  await flag("zoned_plan", { schedule: [{ at: "2027-03-26T08:00:00Z", percentage: 1 }, { at: "2027-03-29T08:00:00Z", percentage: 100 }] });
  const utc = ["26 Mar 2027, 08:00 UTC", "29 Mar 2027, 08:00 UTC"];
  for (const [timezoneId, local, changes] of [
    ["Europe/Berlin", ["26 Mar 2027, 09:00 CET", "29 Mar 2027, 10:00 CEST"], true],
    ["America/New_York", ["26 Mar 2027, 04:00 GMT-4", "29 Mar 2027, 04:00 GMT-4"], false],
    ["Asia/Kathmandu", ["26 Mar 2027, 13:45 GMT+5:45", "29 Mar 2027, 13:45 GMT+5:45"], false],
    ["UTC", utc, false],
  ]) {
    const page = await as(ALICE, "flags/zoned_plan", { timezoneId });
    const plan = page.getByRole("region", { name: "Plan", exact: true });
    const steps = plan.locator(".steps");
    await steps.waitFor();
    assert.deepEqual(await timesIn(steps), [[local[0], utc[0]], [local[1], utc[1]]], timezoneId);
    assert.equal(await plan.getByText(`${CHANGE} later by the clock.`).count(), changes ? 1 : 0, timezoneId);
    const drawn = await plan.getByRole("img").getAttribute("aria-label");
    assert.match(drawn, new RegExp(local[0].split(" ").at(-1).replace("+", "\\+")), "also in the words of the drawing");
    // What is said by how long it is until then has the instant on hover, in both.
    const [until] = await timesIn(plan.locator(".plan-now"));
    assert.match(until[0], /^in /);
    assert.equal(until[1], timezoneId === "UTC" ? utc[0] : `${local[0]}, ${utc[0]}`);
  }
});

test("the history names the zone and has UTC on hover, also in what was changed", async () => {
  await flag("zoned_history", { schedule: [{ at: "2027-10-30T08:00:00Z", percentage: 1 }] });
  await api("POST", "flags/zoned_history/kill?reason=INC-1");
  for (const [timezoneId, zone, step] of [
    ["Europe/Berlin", /^just now, \d+ \w+ \d{4}, \d\d:\d\d (CET|CEST)$/, "30 Oct 2027, 10:00 CEST"],
    ["America/New_York", /^just now, \d+ \w+ \d{4}, \d\d:\d\d GMT-[45]$/, "30 Oct 2027, 04:00 GMT-4"],
  ]) {
    const page = await as(ALICE, "flags/zoned_history", { timezoneId });
    const history = page.getByRole("region", { name: "History", exact: true });
    await history.locator("li").nth(1).waitFor();
    const times = await timesIn(history);
    for (const [, title] of times) assert.match(title, /^\d+ \w+ \d{4}, \d\d:\d\d UTC$/);
    const entries = await timesIn(history.locator(".who-when"));
    assert.equal(entries.length, 2);
    for (const [words] of entries) assert.match(words, zone);
    assert.ok(times.some(([words]) => words === step), `the step of the plan that was made: ${JSON.stringify(times)}`);
    assert.equal(times.length, 4, `paused_at of the kill is one, too: ${JSON.stringify(times)}`);

    await page.goto(page.url().replace(/#.*/, "#/changes"));
    await page.locator(".who-when time").first().waitFor();
    for (const [words, title] of await timesIn(page.locator(".who-when"))) {
      assert.match(words, /(CET|CEST|GMT-[45])$/);
      assert.match(title, / UTC$/);
    }
  }
});

test("a plan that is being made says when the clocks change, and which zone its beginning is in", async () => {
  await flag("zoned_start", { enabled: true, percentage: 0 });
  const page = await as(ALICE, "flags/zoned_start", { timezoneId: "Europe/Berlin" });
  await press(page, "Start a plan…");
  const preview = dialog(page).locator(".preview");
  const begins = dialog(page).getByLabel("Begins");
  await dialog(page).getByText(/Your time zone: Europe\/Berlin, (CET|CEST) now\./).waitFor();
  const note = (which) => preview.getByText(`${CHANGE} ${which} by the clock.`);

  await begins.fill("2027-03-27T09:00");
  assert.deepEqual(await timesIn(preview), [
    ["27 Mar 2027, 09:00 CET", "27 Mar 2027, 08:00 UTC"],
    ["28 Mar 2027, 10:00 CEST", "28 Mar 2027, 08:00 UTC"],
    ["29 Mar 2027, 10:00 CEST", "29 Mar 2027, 08:00 UTC"],
    ["31 Mar 2027, 10:00 CEST", "31 Mar 2027, 08:00 UTC"],
    [(await timesIn(preview))[4][0], "31 Mar 2027, 10:00 CEST, 31 Mar 2027, 08:00 UTC"],
  ]);
  assert.equal(await note("later").count(), 1);

  await begins.fill("2027-10-30T09:00");
  assert.equal((await timesIn(preview))[1][0], "31 Oct 2027, 08:00 CET");
  assert.deepEqual([await note("later").count(), await note("earlier").count()], [0, 1]);

  await begins.fill("2027-06-01T09:00");
  assert.equal(await preview.getByText("The clocks change").count(), 0);

  await begins.fill("2027-03-27T09:00");
  // The last step has no length.
  for (const unit of (await dialog(page).getByLabel("Unit").all()).slice(0, -1)) await unit.selectOption("hours");
  for (const length of (await dialog(page).getByLabel("For how long").all()).slice(0, -1)) await length.fill("24");
  assert.equal((await timesIn(preview))[1][0], "28 Mar 2027, 10:00 CEST");
  assert.equal(await preview.getByText("The clocks change").count(), 0, "an hour is an hour");
});

test("dates are days in UTC wherever they are looked at", async () => {
  await flag("zoned_dates", { enabled: true, created_at: "2027-01-01", expires_at: "2027-06-30" });
  for (const timezoneId of ["America/Los_Angeles", "Pacific/Kiritimati"]) {
    const page = await as(ALICE, "flags/zoned_dates", { timezoneId });
    const about = page.getByRole("region", { name: "About", exact: true });
    await about.waitFor();
    assert.match(await about.innerText(), /1 Jan 2027[^]*30 Jun 2027/, timezoneId);
  }
});

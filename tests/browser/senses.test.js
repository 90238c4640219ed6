// Keys alone, no motion, the colours of the system: what those need who do not see, point or stand it like others.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN, ALICE, as, dialog, flag, open, picture, stored, until } from "./support.js";

/** Goes on by Tab until what has the focus is called so; everything on the way shows that it has it. */
async function tabTo(page, name) {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      const isSeen = [null, "::after"].some((part) => {
        const style = getComputedStyle(element, part);
        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      });
      return { isSeen, isPage: element === document.body, names: [element.ariaLabel, element.labels?.[0]?.textContent, element.textContent] };
    });
    if (at.isPage) continue;
    assert.ok(at.isSeen, `the focus on ${at.names} shows`);
    if (at.names.includes(name)) return;
  }
  assert.fail(`${name} is not reached by Tab`);
}

const focused = (page) => page.evaluate(() => document.activeElement.textContent || document.activeElement.ariaLabel);

test("a flag is found, released to some, killed and restored by keys alone", async () => {
  await flag("keys_only", { enabled: true, percentage: 0 });
  const page = await open(`${ADMIN}/`);
  const { keyboard } = page;
  await page.getByLabel("Your token").waitFor();
  await keyboard.type(ALICE);
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "Flags", exact: true }).waitFor();

  await tabTo(page, "Search");
  await keyboard.type("keys_only");
  await page.getByText(/^1 of \d+ flags/).waitFor();
  await tabTo(page, "keys_only");
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "Switched on, but nobody gets it yet" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1", "whoever listens is told where they are");

  await tabTo(page, "Share of users in percent");
  await keyboard.press("ControlOrMeta+a");
  await keyboard.type("10");
  await keyboard.press("Enter");
  await dialog(page).waitFor();
  await keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  assert.equal(await focused(page), "Share of users in percent", "the focus comes back from a question that is left");
  await keyboard.press("Enter");
  await dialog(page).getByText("100 of every 1000 users more get it.").waitFor();
  await keyboard.type("a tenth");
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "On for 10\u202f% of users" }).waitFor();
  await until(async () => assert.equal(await focused(page), "Share of users in percent", "and from one that is answered"));

  await page.evaluate(() => document.querySelector("h1").focus());
  await tabTo(page, "Kill…");
  await keyboard.press("Enter");
  await keyboard.press("Escape");
  assert.equal(await focused(page), "Kill…");
  await keyboard.press("Enter");
  await keyboard.type("by keys");
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "Killed: nobody gets it" }).waitFor();
  await until(async () => assert.equal(await focused(page), "Restore…", "the focus is where it was"));
  await keyboard.press("Enter");
  await tabTo(page, "Restore it");
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "On for 10\u202f% of users" }).waitFor();
  await until(async () => assert.equal(await focused(page), "Kill…"));
  assert.deepEqual((await stored("keys_only")).flag, { enabled: true, percentage: 10 });
});

test("a question keeps the focus inside, and the page behind it cannot be reached", async () => {
  await flag("keys_inside", { enabled: true, percentage: 10 });
  const page = await as(ALICE, "flags/keys_inside");
  await page.getByRole("button", { name: "Kill…" }).click();
  for (let presses = 0; presses < 12; presses += 1) {
    await page.keyboard.press("Tab");
    assert.ok(await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("dialog") !== null));
  }
});

test("nothing moves for those who asked for that", async () => {
  const moving = (page) => page.evaluate(() => [...document.querySelectorAll("*")].filter((element) => {
    const style = getComputedStyle(element);
    return style.transitionDuration.split(", ").some((time) => parseFloat(time) > 0) || style.animationName !== "none" || style.scrollBehavior === "smooth";
  }).length);
  assert.ok(await moving(await as(ALICE, "flags/new_search")) > 0, "there is motion otherwise");
  const page = await as(ALICE, "flags/new_search", { reducedMotion: "reduce" });
  assert.equal(await moving(page), 0);
  await page.getByRole("button", { name: "Kill…" }).click();
  assert.equal(await moving(page), 0);
});

/** The colours that are drawn at some points of an element; styles tell what was asked for, not what the system makes of it. */
async function drawn(element, ...points) {
  // An event may draw it again while the picture is taken.
  const png = (await until(() => element.screenshot())).toString("base64");
  const blank = await element.page().context().browser().newPage();
  const colours = await blank.evaluate(async ([png, points]) => {
    const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
    const canvas = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
    canvas.drawImage(picture, 0, 0);
    return points.map(([x, y]) => [...canvas.getImageData(x * picture.width, y * picture.height, 1, 1).data].join());
  }, [png, points]);
  await blank.close();
  return colours;
}

test("states are told apart in the colours of the system", async () => {
  await flag("contrast_me", { enabled: true, percentage: 50, variants: { a: 50, b: 50 } });
  const page = await as(ALICE, "", { forcedColors: "active" });
  const first = (selector) => page.locator(selector).first();
  const line = (selector) => first(selector).evaluate((element) => getComputedStyle(element).textDecorationLine);
  // Away from the letters, at the edge.
  const edge = [0.08, 0.5];
  const [chosen] = await drawn(first(".chip[aria-pressed=true]"), edge), [other] = await drawn(first(".chip[aria-pressed=false]"), edge);
  assert.notEqual(chosen, other, "the filter that is on");
  assert.match(await line("nav a[aria-current]"), /underline/);
  await page.getByLabel("Search").fill("contrast_me");
  await page.getByText(/^1 of \d+ flags/).waitFor();
  const { width } = await first("td .pill").boundingBox();
  const [mark, beside] = await drawn(first("td .pill"), [15 / width, 0.5], [6 / width, 0.5]);
  assert.notEqual(mark, beside, "the mark of a state");
  const [inside, outside] = await drawn(first(".share-bar"), [0.25, 0.5], [0.75, 0.5]);
  assert.notEqual(inside, outside, "the share");
  const [live, ground] = await drawn(first(".pulse"), [4 / (await first(".pulse").boundingBox()).width, 0.5], [0.99, 0.02]);
  assert.notEqual(live, ground, "that it is live");

  await page.goto(`${ADMIN}/#/flags/contrast_me`);
  await page.locator(".timeline > li").waitFor();
  const [one] = await drawn(page.locator(".swatch").nth(0), [0.5, 0.5]), [two] = await drawn(page.locator(".swatch").nth(1), [0.5, 0.5]);
  assert.notEqual(one, two, "which variant is which");
  await page.getByRole("region", { name: "By name" }).getByRole("button").click();
  await dialog(page).getByLabel("Add users").fill("maria");
  await dialog(page).locator("ins").waitFor();
  assert.match(await line("dialog ins"), /underline/);
  await picture(page, "contrast-ask-added");
});

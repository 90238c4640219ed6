// Every view: light, dark, on a phone, enlarged, with the system's colours; usable by those who listen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, ADMIN, accessible, api, as, fits, flag, open, picture } from "./support.js";

const STYLES = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { colorScheme: "light", viewport: { width: 360, height: 740 } }],
  ["phone-dark", { colorScheme: "dark", viewport: { width: 360, height: 740 } }],
  ["zoom-200", { viewport: { width: 640, height: 450 }, deviceScaleFactor: 2 }],
  ["zoom-400", { viewport: { width: 320, height: 256 }, deviceScaleFactor: 4 }],
  ["contrast", { colorScheme: "dark", forcedColors: "active" }],
];

/** Flags in every state, some with a past. */
async function scene() {
  if ((await api("GET", "flags/rolled")).status === 200) return;
  const now = Date.now(), at = (hours) => new Date(now + hours * 3_600_000).toISOString();
  await flag("rolled", { enabled: true, percentage: 10, owner: "payments", ticket: "PAY-12", description: "One-page checkout, for those who pay by card", created_at: "2026-11-01", expires_at: new Date(now + 6 * 86_400_000).toISOString().slice(0, 10), tags: ["checkout", "q4"], metadata: { cost: { monthly: 12.5 } } });
  await api("PATCH", "flags/rolled?reason=For%20the%20testers", { allowed_users: ["tester_1", "maria"], allowed_groups: ["employees"] });
  const steps = [[-50, 1], [-26, 10], [22, 50], [70, 100]].map(([hours, percentage]) => ({ at: at(hours), percentage }));
  const { status, body } = await api("PATCH", "flags/rolled?reason=Step%20by%20step,%20as%20agreed", { percentage: null, schedule: steps });
  assert.equal(status, 200, JSON.stringify(body));
  await flag("stopped", { enabled: true, percentage: 30, owner: "search", description: "Suggests what others looked for" });
  await api("POST", "flags/stopped/kill?reason=Errors%20at%20checkout,%20INC-17");
  await flag("waiting", { enabled: true, schedule: steps, paused_at: at(-3), owner: "growth" });
}

const VIEWS = [
  ["list", "", (page) => page.getByRole("link", { name: "dark_mode" }).waitFor()],
  ["flag", "flags/rolled", (page) => page.locator(".timeline > li").nth(1).waitFor()],
  ["killed", "flags/stopped", (page) => page.locator(".timeline > li").nth(1).waitFor()],
  ["paused", "flags/waiting", (page) => page.locator(".timeline > li").first().waitFor()],
  ["experiment", "flags/pricing_page", (page) => page.getByText("How those who get").waitFor()],
  ["rules", "flags/beta_reports", (page) => page.getByRole("heading", { name: "Rules", exact: true }).waitFor()],
  ["problem", "flags/broken", (page) => page.getByText("cannot be used").waitFor()],
  ["held", "flags/needs_missing", (page) => page.getByText("nobody gets it here now").waitFor()],
  ["shadowed", "flags/shadowed", (page) => page.getByText("have no effect").waitFor()],
  ["new", "new", (page) => page.getByLabel("Name").waitFor()],
  ["explain", "explain", async (page) => {
    await page.getByLabel("User id").fill("maria");
    await page.getByRole("button", { name: "Ask" }).click();
    await page.locator(".answers").waitFor();
  }],
  ["changes", "changes", (page) => page.locator(".timeline > li").first().waitFor()],
  ["transfer", "transfer", (page) => page.getByRole("heading", { name: "Import", exact: true }).waitFor()],
];

const TITLES = { list: "Flags", new: "New flag", explain: "Who gets what", changes: "Changes", transfer: "Import" };

/** What opens over a flag, and the key of the button that opens it. */
const QUESTIONS = [
  ["kill", "rolled", "power"], ["restore", "stopped", "power"], ["advance", "rolled", "plan-advance"], ["plan", "new_search", "plan-start"], ["variants", "pricing_page", "variants"], ["first-variants", "rolled", "variants"],
  ["names", "beta_reports", "audience"], ["rules", "beta_reports", "rules"], ["first-rule", "rolled", "rules"], ["about", "rolled", "about"], ["json", "rolled", "edit-text"], ["remove", "rolled", "remove"], ["revert", "rolled", "revert-1"],
];

for (const [style, options] of STYLES) {
  test(`every view is accessible and fits: ${style}`, async () => {
    await scene();
    const stranger = await open(ADMIN, options);
    await stranger.getByLabel("Your token").waitFor();
    await accessible(stranger, `login ${style}`);
    await picture(stranger, `${style}-login`);
    const page = await as(ALICE, "", options);
    for (const [name, place, ready] of VIEWS) {
      await page.goto(`${ADMIN}/#/${place}`);
      await page.waitForFunction((name) => document.title.startsWith(name), place.startsWith("flags/") ? place.slice(6) : TITLES[name]);
      await ready(page);
      await picture(page, `${style}-${name}`);
      await accessible(page, `${name} ${style}`);
      await fits(page, `${name} ${style}`);
    }
    for (const [name, place, key] of QUESTIONS) {
      await page.goto(`${ADMIN}/#/`);
      await page.goto(`${ADMIN}/#/flags/${place}`);
      await page.waitForFunction((name) => document.title.startsWith(name), place);
      await page.locator(`[data-key="${key}"]`).click();
      await page.getByRole("dialog").waitFor();
      await page.waitForTimeout(50);
      await page.screenshot({ path: `${process.env.PICTURES}/${style}-ask-${name}.png` });
      await accessible(page, `question ${name} ${style}`);
      await fits(page, `question ${name} ${style}`);
      await page.keyboard.press("Escape");
    }
  });
}

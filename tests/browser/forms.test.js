// Editing by forms: they keep what they do not know, and say what is not right before it is sent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, accessible, api, as, dialog, fits, flag, press, pressIn, save, stored } from "./support.js";

test("names, weights, what it is about and the text are edited", async () => {
  await flag("edit_me", { enabled: true, percentage: 10, allowed_users: ["old"], variants: { a: 50, b: { weight: 50, value: { x: 1 } } } });
  const page = await as(ALICE, "flags/edit_me", { mayFail: /422/ });
  const section = (title) => page.getByRole("region", { name: title });
  await section("By name").getByRole("button", { name: "Change…" }).click();
  await press(page, "Remove old");
  await dialog(page).getByLabel("Add users").fill("maria, jörg");
  await page.keyboard.press("Enter");
  await dialog(page).getByLabel("Add groups").fill("staff");
  await save(page);
  await section("Variants").getByRole("button", { name: "Change…" }).click();
  await dialog(page).getByLabel("Weight of a").fill("33.3");
  await dialog(page).getByText("Together they are 83.3").waitFor();
  await dialog(page).getByLabel("Weight of b").fill("66.7");
  await press(page, "Save");
  await dialog(page).waitFor({ state: "detached" });
  await section("About").getByRole("button", { name: "Change…" }).click();
  await dialog(page).getByLabel("Owner").fill("web");
  await dialog(page).getByLabel("Expires").fill("2027-01-31");
  await dialog(page).getByLabel("Tags").fill("one, two");
  await press(page, "Save");
  await dialog(page).waitFor({ state: "detached" });
  await press(page, "Edit as JSON…");
  const text = await dialog(page).getByLabel("JSON").inputValue();
  await dialog(page).getByLabel("JSON").fill(text.replace("}", ""));
  await press(page, "Save");
  await dialog(page).getByText("This is not JSON").waitFor();
  await dialog(page).getByLabel("JSON").fill(text.replace(/"percentage": ?10/, '"percentage": 1000'));
  await press(page, "Save");
  await dialog(page).getByText("Nothing was changed.").waitFor();
  await dialog(page).getByLabel("JSON").fill(text.replace(/"percentage": ?10/, '"percentage": 20'));
  await press(page, "Save");
  await dialog(page).waitFor({ state: "detached" });
  const { flag: now } = await stored("edit_me");
  assert.deepEqual(now, { enabled: true, percentage: 20, allowed_users: ["maria", "jörg"], allowed_groups: ["staff"], variants: { a: 33.3, b: { weight: 66.7, value: { x: 1 } } }, owner: "web", expires_at: "2027-01-31", tags: ["one", "two"] });
});

test("a flag is made, removed, and made again on purpose", async () => {
  const page = await as(ALICE, "", { mayFail: /409|412/ });
  await page.getByRole("link", { name: "New flag" }).click();
  await page.getByLabel("Name").fill("no spaces please");
  await press(page, "Make the flag");
  await page.getByRole("alert").getByText("A name has letters").waitFor();
  await page.getByLabel("Name").fill("dark_mode");
  await press(page, "Make the flag");
  await page.getByText("There is a flag of this name already").waitFor();
  const make = async () => {
    await page.getByLabel("Name").fill("made_here");
    await page.getByLabel("What is it for?").fill("To see whether it works");
    await page.getByLabel("Why?").fill("a new form");
    await press(page, "Make the flag");
  };
  await make();
  await page.getByRole("heading", { name: "Switched on, but nobody gets it yet" }).waitFor();
  await press(page, "Remove flag…");
  await press(page, "Remove it");
  await dialog(page).getByText("Type the flag's name").waitFor();
  await dialog(page).getByLabel("The flag's name, to be sure").fill("made_here");
  await press(page, "Remove it");
  await page.getByRole("heading", { name: "Flags", exact: true }).waitFor();
  await page.getByRole("link", { name: "New flag" }).click();
  await make();
  await dialog(page).getByText("wakes up with the new one").waitFor();
  await press(page, "Make it again");
  await page.getByRole("heading", { name: "Switched on, but nobody gets it yet" }).waitFor();
  const { body } = await api("GET", "flags/made_here/history");
  assert.deepEqual(body.entries.map(({ reason }) => reason), ["a new form", null, "a new form"]);
});


test("rules are added, filled in, moved and removed", async () => {
  const when = (attribute, op, ...values) => ({ attribute, op, values });
  const [staff, countries] = [{ when: [when("email", "ends_with", "@example.com")], serve: true }, { when: [when("country", "equals", "DE", "AT")], serve: { percentage: 25 } }];
  await flag("rule_me", { enabled: true, percentage: 0, rules: [staff, countries], variants: { a: 50, b: 50 } });
  const page = await as(ALICE, "flags/rule_me", { mayFail: /422/ });
  const card = (number) => dialog(page).getByRole("group", { name: `Rule ${number}`, exact: true });
  await pressIn(page, "Rules", "Change…");
  await press(page, "Save");
  await dialog(page).getByText("Nothing has been changed yet.").waitFor();
  await press(page, "Move rule 2 up");
  assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Move rule 1 down", "the focus stays with the rule that moves");
  await dialog(page).getByText("in another order").waitFor();

  await press(page, "Add a rule");
  await page.keyboard.type("age");
  await press(page, "Save");
  await dialog(page).getByRole("alert").getByText("Rule 3: which values of age?").waitFor();
  await card(3).getByLabel("Condition", { exact: true }).selectOption("is not at least");
  await card(3).getByLabel("Values").fill("18\nmany");
  await press(page, "Save");
  await dialog(page).getByRole("alert").getByText("Rule 3: many is no number.").waitFor();
  await card(3).getByLabel("Values").fill("18");
  await card(3).getByRole("button", { name: "Add a condition" }).click();
  await card(3).getByLabel("Attribute").nth(1).fill("beta");
  await card(3).getByLabel("Condition", { exact: true }).nth(1).selectOption("is not known");
  await card(3).getByLabel("What they get").selectOption("off");
  await press(page, "Add a rule");
  await card(4).getByLabel("Attribute").fill("plan");
  await card(4).getByLabel("Values").fill("pro\n7\n\"7\"\ntrue");
  await card(4).getByLabel("What they get").selectOption("on, as b");
  await card(1).getByLabel("Share of them in percent").fill("101");
  await press(page, "Save");
  await dialog(page).getByText("Rule 1: the share").waitFor();
  await card(1).getByLabel("Share of them in percent").fill("12.5");
  await press(page, "Remove rule 2");
  const changes = dialog(page).locator(".changes");
  await changes.locator("ins").filter({ hasText: "If age is not at least 18 and beta is not known: off" }).waitFor();
  await changes.locator("del").filter({ hasText: "If email ends with @example.com: on" }).waitFor();
  await accessible(page, "rules");
  await fits(page, "rules");
  await dialog(page).getByLabel("Why?").fill("as agreed");
  await save(page);
  const { flag: now } = await stored("rule_me");
  assert.deepEqual(now.rules, [
    { ...countries, serve: { percentage: 12.5 } },
    { when: [when("age", "not_greater_or_equal", 18), { attribute: "beta", op: "not_exists" }], serve: false },
    { when: [when("plan", "equals", "pro", 7, "7", true)], serve: "b" },
  ]);
  await page.locator(".timeline ins").filter({ hasText: "on, as b" }).waitFor();
  await page.locator("blockquote").filter({ hasText: "as agreed" }).waitFor();

  await pressIn(page, "Rules", "Change…");
  await card(3).getByLabel("Values").fill("a version");
  await card(3).getByLabel("Condition", { exact: true }).selectOption("is newer than version");
  await press(page, "Save");
  await dialog(page).getByRole("alert").getByText("a semantic version").waitFor();
  for (const _ of now.rules) await press(page, "Remove rule 1");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Add a rule");
  await save(page);
  assert.deepEqual((await stored("rule_me")).flag, { enabled: true, percentage: 0, variants: { a: 50, b: 50 } }, "who was let in by rules alone is not let in by their end");
});

test("every operator and every value survives the form as it is", async () => {
  const values = ["plain", " spaced ", "two\nlines", "\"quoted\"", "7", "true", "null", "[1]", "tab\t", "", "日本語", "\\d+"];
  const plain = [["equals", [...values, 7, -0.5, 1e-7, true, false]], ["exists"], ...["contains", "starts_with", "ends_with"].map((op) => [op, values]), ["matches", ["^a{1,3}$", "\"", "5"]],
    ...["greater", "greater_or_equal", "less", "less_or_equal"].map((op) => [op, [1, 2.5, -3e-7]]), ...["semver_equals", "semver_greater", "semver_greater_or_equal", "semver_less", "semver_less_or_equal"].map((op) => [op, ["2.1.0-rc.1+build"]]),
    ...["before", "after"].map((op) => [op, ["2026-12-01T09:00:00Z"]])];
  const rules = plain.flatMap(([op, values]) => [op, `not_${op}`].map((op) => ({ when: [{ attribute: " x ", op, ...(values && { values }) }], serve: true })));
  await flag("all_operators", { enabled: true, percentage: 0, rules });
  const page = await as(ALICE, "flags/all_operators");
  await pressIn(page, "Rules", "Change…");
  assert.equal(await dialog(page).getByLabel("Condition", { exact: true }).count(), rules.length, "all of them are known");
  await press(page, "Save");
  await dialog(page).getByText("Nothing has been changed yet.").waitFor();
  await press(page, `Move rule ${rules.length} up`);
  await save(page);
  const moved = [...rules.slice(0, -2), rules.at(-1), rules.at(-2)];
  assert.deepEqual((await stored("all_operators")).flag.rules, moved);
});

test("a rule that the page does not know is kept as it is, and can be moved and removed", async () => {
  const known = { when: [{ attribute: "plan", op: "equals", values: ["pro"] }], serve: true };
  const unknown = [{ when: [{ attribute: "plan", op: "sounds_like", values: ["pro"] }], serve: true }, { ...known, weight: 3 }, { ...known, serve: { percentage: 5, of: "groups" } }, { when: [{ attribute: "two\nlines", op: "exists" }], serve: true }];
  await flag("kept_rules", { enabled: true, percentage: 0, rules: [known] });
  const page = await as(ALICE, "", { mayFail: /422/ });
  const sent = [];
  await page.route("**/flags/kept_rules*", async (route) => {
    if (route.request().method() === "PATCH") sent.push(route.request().postDataJSON());
    if (route.request().method() !== "GET") return route.fallback();
    const response = await route.fetch();
    const body = await response.json();
    body.flag.rules = [known, ...unknown];
    return route.fulfill({ response, json: body });
  });
  await page.goto(page.url().replace(/#.*/, "#/flags/kept_rules"));
  await page.getByRole("region", { name: "Rules" }).getByText("sounds_like").waitFor();
  await pressIn(page, "Rules", "Change…");
  assert.equal(await dialog(page).getByText("keeps it as it is").count(), unknown.length);
  await press(page, "Move rule 4 up");
  await press(page, "Remove rule 2");
  await press(page, "Save");
  await dialog(page).getByRole("alert").getByText("Nothing was changed").waitFor();
  assert.deepEqual(sent, [{ rules: [known, unknown[2], unknown[1], unknown[3]] }]);
});

test("variants are made, given values, and taken away", async () => {
  await flag("vary_me", { enabled: true, percentage: 50 });
  const page = await as(ALICE, "flags/vary_me");
  const row = (number) => dialog(page).locator(".variants > li").nth(number);
  const says = (text) => dialog(page).locator("[aria-live]").filter({ hasText: text }).first().waitFor();
  await pressIn(page, "Variants", "Add…");
  await row(0).getByLabel("Name").fill("no spaces");
  await row(1).getByLabel("Name").fill("blue");
  await says("A name has letters");
  await row(0).getByLabel("Name").fill("blue");
  await says("two variants of the name blue");
  await row(0).getByLabel("Name").fill("red");
  await row(0).getByLabel("Value").fill('{"hex": #f00}');
  await says("The value of red is not JSON");
  await row(0).getByLabel("Value").fill('{"hex": "#f00", "dark": null}');
  await says("A null in a value");
  await row(0).getByLabel("Value").fill('{"hex": "#f00", "warm": true}');
  await press(page, "Add a variant");
  await page.keyboard.type("green");
  await press(page, "Same weight for all");
  await says("Together 100");
  await accessible(page, "variants");
  await fits(page, "variants");
  await save(page);
  assert.deepEqual((await stored("vary_me")).flag.variants, { blue: 33.333, green: 33.333, red: { weight: 33.334, value: { hex: "#f00", warm: true } } });

  await pressIn(page, "Variants", "Change…");
  await press(page, "Remove green");
  await says("Together they are 66.667");
  await dialog(page).getByLabel("Weight of blue").fill("66.666");
  await dialog(page).getByLabel("Value of blue").fill("0.1");
  await dialog(page).getByLabel("Value of red").fill('{"hex": "#c00"}');
  await save(page);
  assert.deepEqual((await stored("vary_me")).flag.variants, { blue: { weight: 66.666, value: 0.1 }, red: { weight: 33.334, value: { hex: "#c00" } } }, "what is not in a value any more is gone");

  await pressIn(page, "Variants", "Change…");
  await press(page, "Remove blue");
  await press(page, "Remove red");
  await says("everyone who gets the flag gets the same");
  await save(page);
  assert.deepEqual((await stored("vary_me")).flag, { enabled: true, percentage: 50 });
});

test("a flag that was never edited here says where it came from, without alarm", async () => {
  const page = await as(ALICE, "flags/new_search");
  await page.getByRole("region", { name: "History" }).getByText("Its history begins with the first change made here.").waitFor();
  assert.equal(await page.getByText("past the history").count(), 0);
  await flag("past_me", { enabled: true });
  await page.route("**/flags/past_me", async (route) => {
    const response = await route.fetch();
    return route.fulfill({ response, json: { ...await response.json(), changed_outside: true } });
  });
  await page.goto(page.url().replace(/#.*/, "#/flags/past_me"));
  await page.getByText("past the history").waitFor();
});

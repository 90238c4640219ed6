// Numbers that a float does not hold: the page shows and saves the digits that are stored.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALICE, ADMIN, BOB, api, as, dialog, flag, press, pressIn, save, stored } from "./support.js";

const rule = (values) => `{"when":[{"attribute":"account","op":"equals","values":[${values}]},{"attribute":"plan","op":"equals","values":["pro"]}],"serve":true}`;

/** What the API answers, with its digits. */
const written = async (path) => (await fetch(`${ADMIN}/${path}`, { headers: { authorization: `Bearer ${BOB}` } })).text();

test("an edit of one condition keeps the digits of its neighbours", async () => {
  const numbers = "987654321987654321,18446744073709551615,-9223372036854775808,9007199254740993,0.30000000000000004";
  await flag("accounts", `{"enabled": true, "percentage": 0, "rules": [${rule(numbers)}]}`);
  const page = await as(ALICE, "flags/accounts", { mayFail: /422/ });
  const region = page.getByRole("region", { name: "Rules", exact: true });
  for (const number of numbers.split(",")) await region.getByText(number, { exact: true }).waitFor();
  await pressIn(page, "Rules", "Change…");
  const values = (at) => dialog(page).getByLabel("Values").nth(at);
  assert.equal(await values(0).inputValue(), numbers.replaceAll(",", "\n"));
  await press(page, "Save");
  await dialog(page).getByText("Nothing has been changed yet.").waitFor();
  await values(1).fill("team");
  await dialog(page).locator(".changes ins").filter({ hasText: "987654321987654321" }).waitFor();
  await save(page);
  const { text } = await stored("accounts");
  assert.ok(text.includes(`[${numbers}]`) && text.includes("[\"team\"]"), text);
  // A neighbour is another number, and what no comparison can hold is said with the digits that were typed.
  await pressIn(page, "Rules", "Change…");
  await values(0).fill("18446744073709551616");
  await press(page, "Save");
  await dialog(page).getByText("found 18446744073709551616").waitFor();
  await values(0).fill("987654321987654320\n1.50\n1e3");
  await save(page);
  assert.ok((await stored("accounts")).text.includes("[987654321987654320,1.50,1e3]"), (await stored("accounts")).text);
  await page.locator(".timeline del").filter({ hasText: "987654321987654321" }).filter({ hasText: "team" }).waitFor();
});

test("an answer is about the account that was asked for", async () => {
  await flag("one_account", `{"enabled": true, "percentage": 0, "rules": [${rule("987654321987654321")}]}`);
  const page = await as(ALICE, "flags/one_account", { mayFail: /400/ });
  const place = page.getByRole("region", { name: "What would this user get?" });
  await place.getByText("Groups and attributes").click();
  const ask = async (account, answer) => {
    await place.getByLabel("Attributes").fill(`account = ${account}\nplan = pro`);
    await place.getByRole("button", { name: "Ask" }).click();
    await place.getByText(answer).first().waitFor();
  };
  await ask("987654321987654321", "Rule 1 decides.");
  await ask("987654321987654320", "nothing names this user");
  await ask("[987654321987654321]", "Rule 1 decides.");
  await ask("18446744073709551616", "found 18446744073709551616");
});

test("values and metadata keep their digits", async () => {
  const value = "{\"limit\":18446744073709551615,\"rate\":1.0,\"pi\":3.14159265358979323846}";
  await flag("long_values", `{"enabled": true, "percentage": 100, "variants": {"a": {"weight": 50, "value": ${value}}, "b": {"weight": 50, "value": 9007199254740993}}, "metadata": {"id": 987654321987654321}}`);
  const page = await as(ALICE, "flags/long_values");
  await page.getByRole("region", { name: "About" }).getByText("987654321987654321").waitFor();
  await page.getByRole("region", { name: "Variants" }).getByText("9007199254740993").waitFor();
  await pressIn(page, "Variants", "Change…");
  const box = dialog(page).getByLabel("Value of a, as JSON");
  const shown = await box.inputValue();
  assert.ok(shown.includes("\"limit\":18446744073709551615") && shown.includes("\"rate\":1.0"), shown);
  await box.fill(shown.replace("\"rate\":1.0", "\"rate\":2.0"));
  await dialog(page).getByLabel("Weight of a").fill("40");
  await dialog(page).getByLabel("Weight of b").fill("60");
  await dialog(page).getByText("18446744073709551615").first().waitFor();
  await save(page);
  const { text } = await stored("long_values");
  for (const part of ["\"limit\":18446744073709551615", "\"rate\":2.0", "\"pi\":3.14159265358979323846", "\"value\":9007199254740993", "987654321987654321"]) assert.ok(text.includes(part), `${part} in ${text}`);
  await pressIn(page, "Variants", "Change…");
  await press(page, "Save");
  await dialog(page).getByText("Nothing has been changed yet.").waitFor();
});

test("texts that meet in a conflict keep their digits", async () => {
  await flag("long_conflict", "{\"enabled\": true, \"percentage\": 10, \"metadata\": {\"id\": 987654321987654321, \"n\": 1}}");
  const page = await as(ALICE, "flags/long_conflict", { mayFail: /412/ });
  await press(page, "Edit as JSON…");
  const box = dialog(page).getByLabel("JSON");
  await box.fill((await box.inputValue()).replace("\"n\": 1", "\"n\": 9007199254740993"));
  const { etag } = await api("GET", "flags/long_conflict");
  const elsewhere = "{\"enabled\": true, \"percentage\": 20, \"metadata\": {\"id\": 987654321987654321, \"n\": 1}}";
  assert.equal((await api("PUT", "flags/long_conflict", elsewhere, { headers: { "if-match": etag } })).status, 200);
  await press(page, "Save");
  await dialog(page).getByText("9007199254740993").first().waitFor();
  await press(page, "Make my change on top of theirs");
  await dialog(page).waitFor({ state: "detached" });
  const answer = await written("flags/long_conflict");
  for (const part of ["987654321987654321", "9007199254740993", "\\\"percentage\\\": 20"]) assert.ok(answer.includes(part), `${part} in ${answer}`);
});

test("JSON is read and written without a rounded digit, whatever it is", async () => {
  const page = await as(ALICE);
  const [read, failed] = await page.evaluate(async (base) => {
    const { parse, same, write } = await import(`${base}/json.js`);
    const texts = ["0", "-0.0", "1.10", "1e400", "18446744073709551616", "-9007199254740993", "[1,2.50,{\"a\":[]}]", "{\"__proto__\":1e3,\"b\":\"\\u0000 12345678901234567890 \\\"1.0\\\"\"}", "\"\"", "null", "[]", "{}", "[[],[{}],\"]\"]"];
    const failed = ["", "01", "1.", "{\"a\":1,}", "[1 2]", "NaN", "9".repeat(30) + "x", "{\"a\":12345678901234567890"].filter((text) => {
      try {
        parse(text);
        return true;
      } catch (error) {
        return !(error instanceof SyntaxError);
      }
    });
    const deep = `${"[".repeat(5000)}1.0${"]".repeat(5000)}`;
    const ordered = same(parse("{\"a\":1.0,\"b\":[2]}"), parse("{\"b\":[2],\"a\":1.0}")) && !same(parse("9007199254740993"), parse("9007199254740992"));
    const spaced = write(parse("{\"a\":[1.0,{}],\"b\":{\"c\":null}}"), 2) === "{\n  \"a\": [\n    1.0,\n    {}\n  ],\n  \"b\": {\n    \"c\": null\n  }\n}";
    // What a fast look at a text finds no reason to read slowly for is written as it is.
    const digits = (length) => String(Math.floor(Math.random() * 10 ** length));
    for (let round = 0; round < 20_000; round += 1) {
      const sign = ["", "-"][round % 2], whole = round % 5 ? `${1 + round % 9}${digits(round % 19)}` : "0";
      const fraction = round % 3 ? `.${digits(1 + round % 17).padStart(round % 8, "0")}` : "", power = round % 4 ? "" : `${"eE"[round % 2]}${["", "-", "+"][round % 3]}${digits(2)}`;
      const number = `${sign}${whole}${fraction}${power}`, text = `{"a":[${number},"1e5: 2.0"],"b":{"c":${number}}}`;
      if (write(parse(text)) !== text) failed.push(text);
    }
    return [texts.map((text) => [text, write(parse(text))]), [...failed, !ordered && "order", !spaced && "space", write(parse(deep)) !== deep && "deep"].filter(Boolean)];
  }, ADMIN);
  for (const [text, back] of read) assert.equal(back, text);
  assert.deepEqual(failed, []);
});

// Texts that want to be more than text, wherever somebody can write one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN, ALICE, accessible, api, as, fits, picture } from "./support.js";

const HOSTILE = [
  "<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "\"><svg onload=alert(3)>", "javascript:alert(4)", "'-alert(5)-'", "</title><script>alert(6)</script>",
  "{{7*7}}", "${alert(8)}", "<iframe src=https://example.com></iframe>", "<a href='javascript:alert(10)'>x</a>", "<style>*{display:none}</style>", "<base href=https://example.com>",
  "<meta http-equiv=refresh content=0;url=https://example.com>", "<form action=https://example.com><button>Log in</button></form>", "<link rel=stylesheet href=https://example.com/x.css>", "data:text/html,<script>alert(16)</script>",
  "\u202Egnp.exe\u202C", "\u2066left\u2069\u202E", "Z\u0351\u036B\u0343\u036A\u0302\u036B\u033D\u034F\u0334\u0319\u0324\u031E\u0349\u035A\u032F\u031E\u0320\u034DA\u036B\u0357\u0334\u0362\u0335\u031C\u0330\u0354L\u0368\u0367\u0369\u0358\u0320G\u0311\u0357\u030E\u0305\u035B\u0341\u0334\u033B\u0348\u034D\u0354\u0339O\u0342\u030C\u030C\u0358\u0328\u0335\u0339\u033B\u031D\u0333", "\u200B\u200B\u200B", "a\u0000b", "\u001B[31mred\u001B[0m", "line one\nline two\r\nline three", "\t\t\ttabs",
  "x".repeat(2000), "W".repeat(300) + " " + "i".repeat(300), "👩‍👩‍👧‍👦🏳️‍🌈", "日本語の説明", "العربية مع English", "עברית", "ﷺ".repeat(40), "\uFEFFbom", "-- DROP TABLE flags;", "=HYPERLINK(\"https://example.com\")", "@SUM(A1)",
  "constructor", "__proto__", "toString", "null", "undefined", "NaN", "true", "[object Object]", "%00%0a%22", "&lt;b&gt;not bold&lt;/b&gt;", "&amp;&quot;&#39;", "<!-- -->", "]]>", "`;alert(49)//", "\\u003cscript\\u003e",
];

test("there are fifty of them", () => assert.equal(HOSTILE.length, 50));

/** Everything of a flag that is free text, made of one. */
const definition = (text, number) => ({
  enabled: true, percentage: 50, description: text, owner: text, ticket: text, tags: [text, `${text} ${number}`], metadata: { [text || "x"]: text, deeper: { list: [text] } },
  allowed_users: [text, `${text}!`], allowed_groups: [text], salt: text,
  rules: [{ when: [{ attribute: "plan", op: "equals", values: [text] }], serve: true }],
  variants: { a: { weight: 50, value: text }, b: { weight: 50, value: { [text || "x"]: text } } },
});

const NAMES = ["constructor", "__proto__", "toString", "hasOwnProperty", "0", "a.b..c", "x".repeat(128), "A-_."].filter((name) => /^[A-Za-z0-9]/.test(name));

/** What must not be on any page, whatever it was told. */
async function clean(page, what) {
  const found = await page.evaluate(() => [
    ...document.querySelectorAll("script:not([src='app.js']), iframe, object, embed, base, main style, form[action], meta[http-equiv], [style], img, link:not([href='style.css']):not([rel=icon])"),
    ...[...document.querySelectorAll("a")].filter((link) => link.protocol !== location.protocol && link.protocol !== "https:"),
    ...[...document.querySelectorAll("*")].filter((element) => element.getAttributeNames().some((name) => name.startsWith("on"))),
  ].map((element) => element.outerHTML.slice(0, 200)));
  assert.deepEqual(found, [], what);
}

test("fifty hostile texts are shown as text, everywhere", async () => {
  const put = async (name, body, reason) => {
    const { status, body: answer } = await api("PUT", `flags/${name}?reason=${encodeURIComponent(reason.slice(0, 900))}`, body, { headers: { "if-none-match": "*" } });
    assert.ok(status === 201, `${name}: ${JSON.stringify(answer)}`);
  };
  for (const [number, text] of HOSTILE.entries()) await put(`hostile_${number}`, definition(text, number), text);
  for (const name of NAMES) await put(name, { enabled: true, percentage: 1 }, name);

  const page = await as(ALICE, "", { mayFail: /404/ });
  await page.getByLabel("Search").fill("hostile_");
  await page.getByText(/^50 of \d+ flags/).waitFor();
  await clean(page, "list");
  await fits(page, "list");
  for (const [number, text] of HOSTILE.entries()) {
    await page.goto(`${ADMIN}/#/flags/hostile_${number}`);
    await page.getByRole("heading", { name: `hostile_${number}`, exact: true, level: 1 }).waitFor();
    await page.locator(".timeline > li").first().waitFor();
    assert.equal(await page.locator("p.description").textContent(), text, `description ${number}`);
    assert.equal(await page.locator("blockquote").first().textContent(), text.slice(0, 900), `reason ${number}`);
    await page.locator(".timeline summary").first().click();
    await page.getByText("As it is stored").click();
    await clean(page, `flag ${number}`);
    await fits(page, `flag ${number}`);
    assert.match(await page.title(), /^hostile_\d+ · Flags$/);
  }
  await page.goto(`${ADMIN}/#/flags/hostile_0`);
  await page.getByRole("button", { name: "Kill…" }).click();
  await page.getByLabel("Why?").fill(HOSTILE[1]);
  await page.keyboard.press("Enter");
  await page.locator("blockquote").filter({ hasText: HOSTILE[1] }).first().waitFor();
  for (const name of ["About", "By name", "Rules", "Variants"]) {
    await page.getByRole("region", { name, exact: true }).getByRole("button").first().click();
    await page.getByRole("dialog").waitFor();
    await clean(page, `question ${name}`);
    await page.keyboard.press("Escape");
  }
  for (const place of ["changes", "explain", "transfer"]) {
    await page.goto(`${ADMIN}/#/${place}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.waitForTimeout(200);
    await clean(page, place);
  }
  for (const name of NAMES) {
    await page.goto(`${ADMIN}/#/flags/${name}`);
    await page.getByRole("heading", { name, exact: true, level: 1 }).waitFor();
  }
  for (const place of ["flags/<img src=x onerror=alert(1)>", "flags/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "flags/..%2fstatus", "flags/%", "__proto__", "constructor"]) {
    await page.goto(`${ADMIN}/#/${place}`);
    await page.waitForTimeout(100);
    await clean(page, place);
  }
});

test("hostile texts fit on a phone, and can be read by those who listen", async () => {
  const page = await as(ALICE, "", { viewport: { width: 360, height: 740 } });
  await page.getByLabel("Search").fill("hostile_");
  await page.getByText(/^50 of \d+ flags/).waitFor();
  await fits(page, "list");
  await accessible(page, "list of hostile flags");
  await picture(page, "phone-hostile-list");
  for (const number of [0, 18, 24, 25, 30]) {
    await page.goto(`${ADMIN}/#/flags/hostile_${number}`);
    await page.getByRole("heading", { name: `hostile_${number}`, exact: true, level: 1 }).waitFor();
    await page.locator(".timeline > li").first().waitFor();
    await fits(page, `flag ${number}`);
    await accessible(page, `hostile flag ${number}`);
    await picture(page, `phone-hostile-${number}`);
  }
});

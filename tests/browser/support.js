// What the cases share: a browser, people who are logged in, and an API to prepare flags with.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, afterEach, before } from "node:test";
import { chromium } from "playwright-core";

export const { NESTED, ROOT, MANY, ALICE, BOB, VERA, RITA, PICTURES } = process.env;
export const ADMIN = `${NESTED}/admin`;

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ARGUMENTS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

/** How long a page may take. A wait ends when what it waits for is there, so that this costs time only where a case fails. */
const PATIENCE = 90_000;

let browser;
let contexts = [];
/** What no page may do, collected for the end of each case. */
let offences = [];

before(async () => {
  const executablePath = execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
  browser = await chromium.launch({ executablePath, args: ARGUMENTS.split(" ") });
});
after(() => browser.close());
afterEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  contexts = [];
  const found = offences;
  offences = [];
  await fetch(`${NESTED}/store/up`, { method: "POST" });
  assert.deepEqual(found, [], "errors in the console, or requests to other places");
});

/** A page of a browser of its own. `mayFail`: answers that refuse, which the browser notes in its console, are expected. */
export async function open(url, { mayFail = /$^/, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, ...options });
  contexts.push(context);
  return visit(context, url, mayFail);
}

/** Another page of the browser that a page is in. */
export const beside = (page, url, { mayFail = /$^/ } = {}) => visit(page.context(), url, mayFail);

async function visit(context, url, mayFail) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const origin = new URL(url).origin;
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    const isRefusal = message.text().startsWith("Failed to load resource");
    if (isRefusal && (message.location().url.match(/\/(status|login)$/) || mayFail.test(message.text()))) return;
    offences.push(`${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => offences.push(String(error.stack ?? error)));
  page.on("dialog", (dialog) => {
    offences.push(`a dialog of a script: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    const { protocol, origin: asked } = new URL(request.url());
    if (asked !== origin && !["data:", "blob:"].includes(protocol)) offences.push(`a request to ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

export async function logIn(page, token = ALICE) {
  await page.getByLabel("Your token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { level: 1 }).filter({ hasNotText: /^$/ }).waitFor();
  await page.getByRole("button", { name: "Log out" }).waitFor();
}

/** A page of somebody who is logged in, at a place behind `#/`. */
export async function as(token, place = "", options = {}) {
  const page = await open(`${options.base ?? ADMIN}/#/${place}`, options);
  await logIn(page, token);
  return page;
}

export const dialog = (page) => page.getByRole("dialog");
export const press = (page, name) => page.getByRole("button", { name, exact: true }).click();

/** Presses the button of a section of a flag's page. */
export const pressIn = (page, section, name) => page.getByRole("region", { name: section, exact: true }).getByRole("button", { name, exact: true }).click();

/** Saves what a dialog has, and waits until the page says so. */
export async function save(page, action = "Save") {
  await dialog(page).getByRole("button", { name: action, exact: true }).click();
  await page.locator(".notice").filter({ hasText: "is saved" }).first().waitFor();
  await dialog(page).waitFor({ state: "detached" });
}

/** The API, as a program uses it. */
export async function api(method, path, body, { token = BOB, headers = {} } = {}) {
  const response = await fetch(`${ADMIN}/${path}`, { method, body: body && (typeof body === "string" ? body : JSON.stringify(body)), headers: { authorization: `Bearer ${token}`, ...headers } });
  const text = await response.text();
  return { status: response.status, body: text && JSON.parse(text), etag: response.headers.get("etag") };
}

/** A flag for one case. */
export async function flag(name, definition) {
  const { status, body } = await api("PUT", `flags/${name}`, definition, { headers: { "if-none-match": "*" } });
  assert.equal(status, 201, JSON.stringify(body));
}

export async function stored(name) {
  const { status, body } = await api("GET", `flags/${name}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

/** What a visitor of the service gets. */
export async function shop(name, user) {
  const response = await fetch(`${NESTED}/shop/${name}`, { headers: user ? { "x-user-id": user } : {} });
  return (await response.text()).endsWith("is on");
}

/** Waits until a condition holds; what it last threw is the failure. */
export async function until(condition, within = PATIENCE) {
  const end = Date.now() + within;
  for (;;) {
    try {
      return await condition();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

/** Serious and critical findings of axe on the page as it is. */
export async function accessible(page, what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const found = grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`).join("; ")}`);
  assert.deepEqual(found, [], `axe on ${what}`);
}

/** Nothing sticks out to the side. */
export async function fits(page, what) {
  const wide = await page.evaluate(() => [document.documentElement, ...document.querySelectorAll("dialog")].filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth).map((place) => {
    const edge = place.getBoundingClientRect().right;
    const parts = [...place.querySelectorAll("*")].filter((part) => part.getBoundingClientRect().right > edge);
    return `${place.scrollWidth} in ${place.clientWidth}: ${parts.slice(0, 5).map((part) => part.outerHTML.slice(0, 100)).join(", ")}`;
  }));
  assert.deepEqual(wide, [], `${what} sticks out`);
}

export const picture = (page, name) => page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });

/** For `addInitScript`: notes the streams of a page, and whether it ever said that its connection is lost. */
export function spy() {
  const Stream = EventSource;
  globalThis.streams = [];
  globalThis.EventSource = class extends Stream {
    constructor(url) {
      super(url);
      globalThis.streams.push(this);
    }
  };
  globalThis.lost = [];
  new MutationObserver(() => document.querySelector(".pulse.lost") && globalThis.lost.push(document.body.innerText)).observe(document, { childList: true, subtree: true });
}

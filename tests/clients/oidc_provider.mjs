/**
 * The certified oidc-provider as the aggregator's provider, and a browser's way between both:
 * `node oidc_provider.mjs AGGREGATOR PORT METHOD`. Somebody signs in, stays while their groups change, is locked out;
 * signs in again and signs out at the provider. METHOD is how the client shows who it is. Prints what was seen.
 */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import Provider from "oidc-provider";

const [aggregator, port, method] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const paths = `${aggregator}/api/v1/access/oidc/test`;
const person = { groups: ["staff"], isLocked: false };
/** So short at first that the page's next request but one refreshes. */
let lasts_s = 1;
const seen = { refreshes: 0, revoked: 0, logouts: 0, errors: [] };

const isSecret = method.startsWith("client_secret");
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "kansoku",
      ...(isSecret ? { client_secret: "of the test, 32 bytes or more of it" } : { jwks_uri: `${paths}/keys` }),
      token_endpoint_auth_method: method,
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: [`${paths}/callback`],
      post_logout_redirect_uris: [`${aggregator}/`],
      backchannel_logout_uri: `${paths}/backchannel_logout`,
      backchannel_logout_session_required: true,
    },
  ],
  clientAuthMethods: [method],
  claims: { openid: ["sub", "sid"], groups: ["groups"], profile: ["preferred_username"] },
  scopes: ["openid", "offline_access", "profile", "email", "groups"],
  conformIdTokenClaims: false,
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    revocation: { enabled: true },
  },
  // It asks no addresses of this host by itself, and there the aggregator listens.
  fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  ttl: { AccessToken: () => lasts_s, IdToken: 600, RefreshToken: 600, Grant: 600, Session: 600, Interaction: 600, AuthorizationCode: 60 },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: async (_, id) =>
    person.isLocked
      ? undefined
      : { accountId: id, claims: async () => ({ sub: id, preferred_username: "alice", groups: person.groups }) },
  loadExistingGrant: async ({ oidc }) => {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("openid offline_access profile email groups");
    await grant.save();
    return grant;
  },
});
provider.on("grant.success", ({ oidc }) => (seen.refreshes += oidc.params.grant_type === "refresh_token" ? 1 : 0));
provider.use(async (context, next) => {
  await next();
  seen.revoked += context.oidc?.route === "revocation" && context.status === 200 ? 1 : 0;
});
provider.on("backchannel.success", () => (seen.logouts += 1));
for (const name of ["grant.error", "backchannel.error", "authorization.error", "server_error", "revocation.error"]) {
  provider.on(name, (_, error) => seen.errors.push(`${name}: ${error.message}: ${error.error_detail ?? error.error_description ?? ""}`));
}
const handle = provider.callback();
const server = createServer((request, response) =>
  request.url.startsWith("/interaction/")
    ? provider.interactionFinished(request, response, { login: { accountId: "42" } })
    : handle(request, response),
);
await new Promise((listening) => server.listen(Number(port), "127.0.0.1", listening));

/** A browser: cookies by host, and where it is sent to. */
class Browser {
  jars = { [aggregator]: new Map(), [issuer]: new Map() };

  async ask(url, options = {}) {
    const jar = this.jars[new URL(url).origin];
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const headers = { ...options.headers, cookie };
    const answer = await fetch(url, { ...options, headers, redirect: "manual" });
    for (const set of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(set);
      if (value === "") jar.delete(name);
      else jar.set(name, value);
    }
    return answer;
  }

  async follow(url) {
    for (let n = 0; n < 10; n += 1) {
      const answer = await this.ask(url);
      if (answer.status < 300 || answer.status > 399) return answer;
      url = new URL(answer.headers.get("location"), url).href;
      if (url.startsWith(`${aggregator}/#`) || url.startsWith(`${aggregator}/?`)) return url;
    }
    throw new Error(`${url} leads in a circle`);
  }

  async signIn() {
    const end = await this.follow(`${paths}/login`);
    assert.equal(end, `${aggregator}/#`, JSON.stringify(seen.errors));
  }

  async me() {
    const answer = await this.ask(`${aggregator}/api/v1/access/me`);
    assert.equal(answer.status, 200);
    return (await answer.json()).data;
  }

  /** Looks until it is so. */
  async until(what, isSo) {
    for (let n = 0; n < 600; n += 1) {
      const me = await this.me();
      if (isSo(me)) return me;
      await sleep(100);
    }
    throw new Error(`waited in vain: ${what}: ${JSON.stringify(seen)}`);
  }
}

const alice = new Browser();
await alice.signIn();
const me = await alice.me();
assert.deepEqual([me.name, me.role], ["test/alice", "viewer"]);
// Roles are those of the newest ID token.
person.groups = ["admins"];
await alice.until("the new role", (now) => now.role === "admin");
const { refreshes } = seen;
assert.ok(refreshes > 0);
await alice.until("another refresh", () => seen.refreshes > refreshes);
// Who is locked out is signed out.
person.isLocked = true;
await alice.until("the end", (now) => !now.signedIn);
assert.match(seen.errors.join(), /grant\.error: invalid_grant/);
assert.equal(seen.errors.length, 1, seen.errors.join());
person.isLocked = false;
seen.errors.length = 0;

// From here on nothing but the provider's word can end a session.
lasts_s = 600;
// Two browsers, one of which signs out at the provider.
const [one, other] = [new Browser(), new Browser()];
await one.signIn();
await other.signIn();
const page = await (await one.ask(`${issuer}/session/end`)).text();
const xsrf = /name="xsrf" value="([^"]+)"/.exec(page)[1];
const ended = await one.ask(`${issuer}/session/end/confirm`, {
  method: "POST",
  headers: { "content-type": "application/x-www-form-urlencoded" },
  body: `xsrf=${xsrf}&logout=yes`,
});
assert.ok(ended.status < 400, String(ended.status));
await one.until("the sign-out at the provider", (now) => !now.signedIn);
await one.until("the provider to be through", () => seen.logouts === 1);
assert.equal((await other.me()).signedIn, true);

// What it had is taken back.
await one.until("the token to be taken back", () => seen.revoked === 1);

// The other one signs out here, and its refresh token is taken back.
const out = await other.ask(`${aggregator}/api/v1/access/logout`, {
  method: "POST",
  headers: { "x-requested-with": "kansoku" },
});
const { redirect } = (await out.json()).data;
assert.ok(redirect.startsWith(`${issuer}/session/end?`) && redirect.includes("id_token_hint="), redirect);
await other.until("the token to be taken back", () => seen.revoked === 2);
assert.deepEqual(seen.errors, []);
console.log(JSON.stringify(seen));
server.closeAllConnections();
server.close();

/**
 * A small OpenID Connect provider at which one person is always signed in: `node provider.mjs` prints its
 * issuer. It checks the client's secret, the redirect, PKCE, and that a code comes once; `/refuse` makes it refuse
 * the next sign-in. The host is `localhost`, so that to the aggregator at 127.0.0.1 it is another site.
 */
import { createHash, createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";

const CLIENT = { id: "kansoku", secret: "of the browser's test" };
const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const codes = new Map();
let refuses = false;

const base64url = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

function idToken(issuer, nonce) {
  const now_s = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, aud: CLIENT.id, sub: "7", iat: now_s, exp: now_s + 300, nonce };
  const person = { preferred_username: "alice", groups: ["staff"] };
  const text = `${base64url({ alg: "RS256", kid: "1", typ: "JWT" })}.${base64url({ ...claims, ...person })}`;
  return `${text}.${createSign("sha256").update(text).sign(privateKey, "base64url")}`;
}

function tokens(issuer, authorization, form) {
  const [id, secret] = Buffer.from(authorization.replace(/^Basic /, ""), "base64").toString().split(":");
  if (decodeURIComponent(id) !== CLIENT.id || decodeURIComponent(secret ?? "") !== CLIENT.secret) return null;
  const asked = codes.get(form.get("code"));
  codes.delete(form.get("code"));
  const challenge = createHash("sha256").update(form.get("code_verifier") ?? "").digest("base64url");
  if (asked?.get("code_challenge") !== challenge) return null;
  if (asked.get("redirect_uri") !== form.get("redirect_uri")) return null;
  return { token_type: "Bearer", access_token: "x", id_token: idToken(issuer, asked.get("nonce")) };
}

const server = createServer((request, response) => {
  const issuer = `http://localhost:${server.address().port}`;
  const { pathname, searchParams } = new URL(request.url, issuer);
  const json = (body, status = 200) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  const redirect = (to, query) => response.writeHead(302, { location: `${to}?${new URLSearchParams(query)}` }).end();
  const state = searchParams.get("state");
  switch (pathname) {
    case "/.well-known/openid-configuration":
      return json({
        issuer,
        authorization_endpoint: `${issuer}/auth`,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/keys`,
        end_session_endpoint: `${issuer}/logout`,
      });
    case "/keys":
      return json({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "1", use: "sig" }] });
    case "/auth": {
      if (refuses) {
        refuses = false;
        return redirect(searchParams.get("redirect_uri"), { error: "access_denied", state });
      }
      const code = randomUUID();
      codes.set(code, searchParams);
      return redirect(searchParams.get("redirect_uri"), { code, state });
    }
    case "/token": {
      let body = "";
      request.on("data", (piece) => (body += piece));
      return request.on("end", () => {
        const given = tokens(issuer, request.headers.authorization ?? "", new URLSearchParams(body));
        json(given ?? { error: "invalid_grant" }, given === null ? 400 : 200);
      });
    }
    case "/logout":
      return redirect(searchParams.get("post_logout_redirect_uri"), {});
    case "/refuse":
      refuses = true;
      return json({});
    default:
      return json({ error: "nothing here" }, 404);
  }
});
server.listen(0, "127.0.0.1", () => console.log(`http://localhost:${server.address().port}`));

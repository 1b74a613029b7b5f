// The other side of differential.rs: lines of JSON in, one line out for each. Says what `jose` makes of a token.
//
//   node differential.mjs FOLDER     FOLDER holds node_modules with jose
//
// {"mint": ALG, "key": PKCS#8 or base64url, "claims": {…}}  →  a token
// {"keys": {ALG: JWK}, …}                                   →  ok (once, first)
// {"token": …, "alg": ALG}                                  →  1 when accepted, 0 when not
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(resolve(process.argv[2], 'x.js')));
const jose = await import(pathToFileURL(require.resolve('jose')));
const keys = {};
const now = new Date(1_800_000_000_000);

async function answer({ mint, pem, secret, claims, jwks, token, alg }) {
  if (jwks) {
    for (const [name, jwk] of Object.entries(jwks)) keys[name] = await jose.importJWK(jwk, name);
    return 'ok';
  }
  if (mint) {
    const key = secret ? Buffer.from(secret, 'base64url') : await jose.importPKCS8(pem, mint);
    return new jose.SignJWT(claims).setProtectedHeader({ alg: mint, typ: 'at+jwt', kid: mint }).sign(key);
  }
  try {
    await jose.jwtVerify(token, keys[alg], {
      issuer: 'https://issuer.example', audience: 'api', algorithms: [alg], currentDate: now, clockTolerance: 60,
      requiredClaims: ['exp'],
    });
    return '1';
  } catch {
    return '0';
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${await answer(JSON.parse(line))}\n`);
}

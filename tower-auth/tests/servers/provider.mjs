// An OpenID provider (npm oidc-provider) for the tests: prints `ready PORT` once it listens.
//   node provider.mjs FOLDER PORT GENERATION
// FOLDER has node_modules; another GENERATION is another key set, as after a rotation.
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
import { generateKeyPairSync } from 'node:crypto';

const [folder, port, generation] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const require = createRequire(`${folder}/package.json`);
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const pairs = [
  ['RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
  ['ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
  ['EdDSA', generateKeyPairSync('ed25519')],
];
const keys = pairs.map(([alg, pair]) => ({
  ...pair.privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${generation}`,
}));

// One resource for each way of signing; the client asks for it by name.
const info = (format, alg) => ({
  scope: 'read write', audience: 'api', accessTokenTTL: 600, accessTokenFormat: format,
  ...(format === 'jwt' ? { jwt: { sign: { alg } } } : {}),
});
const resources = {
  'urn:rs256': info('jwt', 'RS256'), 'urn:es256': info('jwt', 'ES256'),
  'urn:eddsa': info('jwt', 'EdDSA'), 'urn:opaque': info('opaque'),
};

let issuer;
const listener = createServer((request, response) => issuer.callback()(request, response));
listener.listen(port, '127.0.0.1', () => {
  const actual = listener.address().port;
  const client = (id, more) => ({
    client_id: id, client_secret: `${id}-secret`, grant_types: ['client_credentials'], redirect_uris: [],
    response_types: [], token_endpoint_auth_method: 'client_secret_basic', scope: 'read write', ...more,
  });
  issuer = new Provider(`http://127.0.0.1:${actual}`, {
    clients: [
      client('rs256'), client('es256'), client('eddsa'), client('opaque'), client('api'),
      client('bound', { dpop_bound_access_tokens: true }),
    ],
    scopes: ['read', 'write'],
    jwks: { keys },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_context, client) => {
          const name = client.clientId === 'bound' || client.clientId === 'api' ? 'es256' : client.clientId;
          return `urn:${name}`;
        },
        getResourceServerInfo: (_context, indicator) => resources[indicator],
        useGrantedResource: () => true,
      },
    },
  });
  console.log(`ready ${actual}`);
  // Nobody reads what follows, and a closed pipe must not end us.
  for (const name of ['log', 'info', 'warn', 'error']) console[name] = () => {};
});
// The tests close our standard input when they are done, or when they die.
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

// Runs the public HTTP cache tests through cache-proxy, scores them as the suite does, and compares the outcome with
// expected.json. Called by scripts/cache-suite, which says what the arguments are.

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const options = { store: [], runs: '1', edition: '0.4.5' }
for (let i = 2; i < process.argv.length; i++) {
  const name = process.argv[i].replace(/^--/, '')
  if (name === 'record') options.record = true
  else if (name === 'store') options.store.push(process.argv[++i])
  else options[name] = process.argv[++i]
}
if (options.store.length === 0) options.store = ['memory', 'redis']

// What is expected of the registry edition lies beside this, and that of the repository's in a folder of its own. The
// repository keeps its programs apart from the tests, and both say that they are of version 0.4.5.
const current = options.edition === 'current'
const here = new URL(current ? 'current/' : '.', import.meta.url)
const engine = existsSync(join(options.suite, 'test-engine')) ? 'test-engine/' : ''
const suite = (path) => import(pathToFileURL(join(options.suite, path)))
const tests = (await suite('tests/index.mjs')).default
const { determineTestResult } = await suite(current ? `${engine}lib/results.mjs` : 'lib/display.mjs')
if (!current) {
  const surrogate = (await suite('tests/surrogate-control.mjs')).default
  if (!tests.includes(surrogate)) tests.push(surrogate)
}
const edition = current ? 'current' : JSON.parse(readFileSync(join(options.suite, 'package.json'))).version

// ---- processes ------------------------------------------------------------------------------------------------------

const running = new Set()
const folder = mkdtempSync(join(tmpdir(), 'cache-suite.'))
const stopAll = () => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
}
process.on('exit', stopAll)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

function start (program, args, settings = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], ...settings })
  running.add(child)
  child.on('error', (error) => fail(`${program}: ${error.message}`))
  child.output = ''
  child.stdout.on('data', (data) => { child.output += data })
  child.ended = new Promise((resolve) => child.on('close', (code) => { running.delete(child); resolve(code) }))
  return child
}

async function stop (child) {
  child.kill('SIGTERM')
  await child.ended
}

function fail (message) {
  console.error(`cache-suite: ${message}`)
  process.exit(1)
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

async function until (what, check, seconds = 60) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(25)) {
    const found = await check()
    if (found) return found
  }
  fail(`no sign of ${what} in ${seconds} s`)
}

const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

// The suite's server listens on every interface unless it is told otherwise.
const LOOPBACK = 'data:text/javascript,' + encodeURIComponent(`
  import { Server } from 'node:net'
  const listen = Server.prototype.listen
  Server.prototype.listen = function (port) { return listen.call(this, { port: Number(port), host: '127.0.0.1' }) }
`)

// ---- one run --------------------------------------------------------------------------------------------------------

async function run (store) {
  const origin = start(process.execPath, ['--import', LOOPBACK, `${engine}server/server.mjs`], {
    cwd: options.suite,
    env: { ...process.env, npm_config_protocol: 'http', npm_config_port: '0', npm_config_pidfile: join(folder, 'pid') }
  })
  const upstream = await until('the origin', () => origin.output.match(/http:\/\/127\.0\.0\.1:\d+/)?.[0])
  const children = [origin]
  let url = 'memory'
  if (store === 'redis') {
    // Somebody else may take the port between the look and the start: then the server ends at once.
    for (let look = 0; url === 'memory' && look < 20; look++) {
      const port = await freePort()
      const server = ['--bind', '127.0.0.1', '--port', `${port}`, '--save', '', '--appendonly', 'no', '--dir', folder]
      const child = start('redis-server', server)
      await until('redis-server', async () => child.exitCode !== null || /Ready to accept/.test(child.output))
      if (child.exitCode !== null) continue
      children.push(child)
      url = `redis://127.0.0.1:${port}`
    }
    if (url === 'memory') fail('redis-server does not start')
  }
  const proxy = start(options.proxy, ['--listen', '127.0.0.1:0', '--upstream', upstream, '--store', url])
  children.push(proxy)
  const base = await until('cache-proxy', () => proxy.output.match(/^listening on (http:\S+)/)?.[1])
  const client = start(process.execPath, ['--no-warnings', `${engine}cli.mjs`], {
    cwd: options.suite,
    env: { ...process.env, npm_config_base: base, npm_config_id: '', npm_package_config_id: '' }
  })
  if (await client.ended !== 0) fail('the suite itself failed')
  for (const child of children.reverse()) await stop(child)
  return JSON.parse(client.output)
}

// ---- what it amounts to ---------------------------------------------------------------------------------------------

const NAMES = { '✅': 'pass', '⛔️': 'fail', '⚠️': 'fail', '🔹': 'setup', '⚪️': 'voided', Y: 'yes', N: 'no' }

function score (raw) {
  const outcomes = {}
  for (const test of tests.flatMap((suite) => suite.tests)) {
    if (test.browser_only) continue
    const symbol = determineTestResult(tests, test.id, raw)[2]
    outcomes[test.id] = { kind: test.kind ?? 'required', result: NAMES[symbol] ?? symbol }
  }
  return outcomes
}

function totals (outcomes) {
  const all = Object.values(outcomes)
  const of = (kind, result) => all.filter((outcome) => outcome.kind === kind && outcome.result === result).length
  const every = (kind) => all.filter((outcome) => outcome.kind === kind).length
  return {
    required: `${of('required', 'pass')} of ${every('required')}`,
    optimal: `${of('optimal', 'pass')} of ${every('optimal')}`,
    check: `${of('check', 'yes')} yes of ${every('check')}`
  }
}

const isPassed = ({ kind, result }) => kind === 'check' || result === 'pass'
const file = (name) => new URL(name, here)
const expected = JSON.parse(readFileSync(file('expected.json')))
if (edition !== expected.edition) fail(`edition ${edition} is here, ${expected.edition} is expected`)

let differences = 0
function differ (text) {
  differences++
  console.log(`  ${text}`)
}

const known = (id, { kind }) => kind === 'check' ? expected.check[id] : expected.not_passed[id]?.result ?? 'pass'
const isExpected = (outcomes) => Object.entries(outcomes).every(([id, outcome]) => known(id, outcome) === outcome.result)

function compare (outcomes, raw) {
  for (const [id, outcome] of Object.entries(outcomes)) {
    if (known(id, outcome) !== outcome.result) {
      differ(`${outcome.kind} ${id}: ${outcome.result}, expected ${known(id, outcome)}: ${JSON.stringify(raw[id])}`)
    }
  }
  for (const [id, { reason }] of Object.entries(expected.not_passed)) {
    if (!outcomes[id]) differ(`${id} is expected, and not among the tests`)
    if (!reason) differ(`${id} has no reason`)
  }
}

function record (store, outcomes, raw) {
  const not_passed = Object.fromEntries(Object.entries(outcomes)
    .filter(([, outcome]) => !isPassed(outcome))
    .map(([id, { kind, result }]) => [id, { kind, result, reason: expected.not_passed[id]?.reason ?? '' }]))
  const check = Object.fromEntries(Object.entries(outcomes)
    .filter(([, { kind }]) => kind === 'check')
    .map(([id, { result }]) => [id, result]))
  writeFileSync(file('expected.json'), JSON.stringify({ edition, not_passed, check }, null, 2) + '\n')
  const which = current ? ' --checkout FOLDER' : ''
  const command = `scripts/cache-suite${which} --store ${store} --runs ${options.runs} --record`
  const results = { edition, command, totals: totals(outcomes), results: raw }
  writeFileSync(file(`${store}.json`), JSON.stringify(results, null, 1) + '\n')
}

let count = 0
for (const store of options.store) {
  let before
  for (let round = 1; round <= Number(options.runs); round++) {
    const began = Date.now()
    let raw = await run(store)
    let outcomes = score(raw)
    // The tests wait for real seconds to pass: what is decided by a busy machine is not so again.
    for (let again = 0; again < 2 && !options.record && !isExpected(outcomes); again++) {
      console.log(`${store}: not as expected, again`)
      raw = await run(store)
      outcomes = score(raw)
    }
    const { required, optimal, check } = totals(outcomes)
    const seconds = ((Date.now() - began) / 1000).toFixed(0)
    console.log(`${store}, run ${round}: required ${required}, optimal ${optimal}, check ${check} (${seconds} s)`)
    count = Object.keys(outcomes).length
    const text = JSON.stringify(outcomes)
    if (before && before !== text) differ(`run ${round} differs from the one before`)
    before = text
    if (options.record) record(store, outcomes, raw)
    else compare(outcomes, raw)
  }
}
const reasons = Object.values(expected.not_passed).length
console.log(`${count} tests; ${reasons} not passed, each with its reason in tower-cache/conformance/${current ? 'current/' : ''}expected.json`)
if (differences > 0) fail(`${differences} differences`)

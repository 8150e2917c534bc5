// Opens a notebook in JupyterLab, runs it, moves a slider, waits for another picture, takes a screenshot.
// node drive_explorer.mjs URL SCREENSHOT; needs the npm packages @sparticuz/chromium and puppeteer-core
import { createRequire } from 'node:module'
const require = createRequire(`${process.env.MOCOGAN_HD_BROWSER}/`)
const puppeteer = require('puppeteer-core')
const { default: chromium } = await import(require.resolve('@sparticuz/chromium'))

const [url, screenshot] = process.argv.slice(2), limit = { timeout: 90_000 }
const browser = await puppeteer.launch({ args: chromium.args, executablePath: await chromium.executablePath(), headless: 'shell' })
try {
  const page = await browser.newPage()
  await page.setViewport({ width: 1100, height: 800 })
  const errors = []
  page.on('pageerror', e => errors.push(String(e)))
  await page.goto(url, limit)
  await page.waitForFunction(() => window.jupyterapp?.shell.currentWidget?.context?.isReady
    && window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle', limit)
  await page.evaluate(() => window.jupyterapp.commands.execute('notebook:run-all-cells'))
  await page.waitForSelector('img.widget-image, .widget-image img', limit)
  const source = () => page.$eval('img.widget-image, .widget-image img', i => i.src)
  const loaded = () => page.waitForFunction(() => {
    const i = document.querySelector('img.widget-image, .widget-image img'); return i.complete && i.naturalWidth > 0 }, limit)
  await loaded()
  const before = await source(), began = Date.now()
  await page.focus('.widget-slider .noUi-handle')
  await page.keyboard.press('ArrowRight')
  await page.waitForFunction(was => document.querySelector('img.widget-image, .widget-image img').src !== was, limit, before)
  await loaded()
  const seconds = (Date.now() - began)/1000
  const output = await page.$('.jp-OutputArea-output .widget-vbox')
  await output.screenshot({ path: screenshot })
  console.log(JSON.stringify({ seconds, errors, value: await page.$eval('.widget-slider .widget-readout', r => r.textContent) }))
} finally { await browser.close() }

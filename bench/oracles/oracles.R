# Prints "name value" for every figure; reads the inputs that make.py wrote into the folder given.
for (package in c("boot", "psych", "survey", "lme4"))
  if (!requireNamespace(package, quietly = TRUE)) stop("R lacks the package ", package, ": apt-get install r-cran-", package)
suppressMessages({library(boot); library(survey); library(lme4)})
folder <- commandArgs(trailingOnly = TRUE)[1]
input <- function(name) read.csv(file.path(folder, paste0(name, ".csv")))
say <- function(name, value) cat(name, sprintf("%.10f", value), "\n")
exactly <- lmerControl(check.nobs.vs.nlev = "ignore", optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-14, maxeval = 1e5))
components <- function(fit) { v <- as.data.frame(VarCorr(fit)); setNames(v$vcov, v$grp) }

# lme4: restricted maximum likelihood; the reliability of the mean of k ratings, k the harmonic mean.
for (name in c("complete", "four", "few", "crowd")) {
  d <- input(paste0("icc_", name))
  shorter <- mean(1 / table(d$item))
  one <- components(lmer(y ~ 1 + (1 | item), d, control = exactly))
  two <- components(lmer(y ~ 1 + (1 | item) + (1 | person), d, control = exactly))
  say(paste0("icc1k_", name), one["item"] / (one["item"] + one["Residual"] * shorter))
  say(paste0("icc2k_", name), two["item"] / (two["item"] + (two["person"] + two["Residual"]) * shorter))
}
# psych: analysis of variance, of complete ratings.
d <- input("icc_complete")
icc <- suppressWarnings(psych::ICC(matrix(d$y, ncol = 4, byrow = TRUE), lmer = FALSE))$results
say("psych_icc1k", icc["Average_raters_absolute", "ICC"])
say("psych_icc2k", icc["Average_random_raters", "ICC"])

d <- input("correlated")
say("pearson", cor(d$predicted, d$human))
say("spearman", cor(d$predicted, d$human, method = "spearman"))
fisher <- cor.test(d$predicted, d$human)$conf.int
say("fisher_low", fisher[1]); say("fisher_high", fisher[2])
# boot: rows drawn within strata. A row's influence is through its stratum's mean, so strata of unequal size need
# Davison & Hinkley's (1997) division by their sizes, which boot.ci leaves to whoever gives it the influences.
set.seed(1)
b <- boot(d, function(d, i) cor(d$predicted[i], d$human[i]), R = 50000, strata = d$stratum)
l <- empinf(b, type = "jack") / as.vector(table(d$stratum)[d$stratum])
l <- l - ave(l, d$stratum)
say("acceleration", sum(l^3) / (6 * sum(l^2)^1.5))
ci <- boot.ci(b, type = c("perc", "bca"), L = l)
say("boot_bca_low", ci$bca[4]); say("boot_bca_high", ci$bca[5])
say("boot_percentile_low", ci$percent[4]); say("boot_percentile_high", ci$percent[5])

d <- input("categories")
say("kappa", psych::cohen.kappa(cbind(d$first, d$second))$kappa)

d <- input("gaps")
fit <- glm(cbind(a, votes - a) ~ gap, binomial, d, control = list(epsilon = 1e-14))
say("platt_slope", coef(fit)["gap"]); say("platt_intercept", coef(fit)["(Intercept)"])
say("temperature_slope", coef(glm(cbind(a, votes - a) ~ 0 + gap, binomial, d, control = list(epsilon = 1e-14)))["gap"])
say("nll", -sum(d$a * log(fitted(fit)) + (d$votes - d$a) * log(1 - fitted(fit))) / sum(d$votes))

d <- input("groups")
design <- svydesign(ids = ~1, data = d, weights = ~1)
population <- data.frame(group = 0:2, Freq = 1000 * input("shares")$share)
say("poststratified", coef(svymean(~vote, postStratify(design, ~group, population))))

v <- components(lmer(y ~ 1 + (1 | pair/judge/order), input("nested"), control = exactly))
say("variance_pair", v["pair"]); say("variance_judge", v["judge:pair"])
say("variance_order", v["order:(judge:pair)"]); say("variance_rest", v["Residual"])

holm <- p.adjust(input("p")$p, "holm")
for (k in seq_along(holm)) say(paste0("holm_", k - 1), holm[k])
exact <- binom.test(7, 23)$conf.int
say("binomial_low", exact[1]); say("binomial_high", exact[2])

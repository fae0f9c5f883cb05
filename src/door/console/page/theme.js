// Before anything is painted: light or dark as chosen here before, else as the system has it.

const chosen = localStorage.getItem("gusher-theme")
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen

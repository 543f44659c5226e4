print("mailflow")
